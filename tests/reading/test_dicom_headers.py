"""Headers that are odd, and series that are not what they seem: exact, told or refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_phantom import Series, random_stored, save
from medseg.discovery.inspection import inspect
from medseg.errors import InputError
from medseg.reading import read_scan
from medseg.reading.dicom.series import list_stacks, read_stack

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def alter(tmp_path, change, series=None):
    """Write a series whose slices `change(k, ds)` alters; gives the series."""
    series = series or Series(random_stored())
    for k in range(len(series.stored)):
        ds = series.slice(k)
        change(k, ds)
        save(ds, tmp_path / f"{k:03d}")
    return series


def refusal(folder):
    """Code of the refusal, which is that of `inspect` too."""
    with pytest.raises(InputError) as caught:
        read_scan(folder)
    assert inspect(folder)[0].verdict.code == caught.value.code
    return caught.value


def relabel(path, syntax):
    """Write another transfer syntax into the meta information, and nothing else."""
    raw = path.read_bytes()
    at = raw.index(b"\x02\0\x10\0UI")
    old = int.from_bytes(raw[at + 6 : at + 8], "little")
    raw = raw[: at + 6] + len(syntax).to_bytes(2, "little") + syntax + raw[at + 8 + old :]
    length = int.from_bytes(raw[140:144], "little") + len(syntax) - old
    path.write_bytes(raw[:140] + length.to_bytes(4, "little") + raw[144:])


@pytest.mark.parametrize("written", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_pixels_are_read_as_they_are_encoded(tmp_path, written):
    def encode(_, ds):
        ds.file_meta.TransferSyntaxUID = written

    series = alter(tmp_path, encode, Series(random_stored((3, 64, 64))))
    other = {b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0"} - {(written + "\0").encode()}
    for path in tmp_path.iterdir():
        relabel(path, next(iter(other)))
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values())
    assert any("meta information" in note for note in scan.provenance.notes)


@pytest.mark.parametrize("first", [0, 1])
def test_a_series_uid_in_every_other_slice_does_not_halve_a_stack(tmp_path, first):
    def change(k, ds):
        if k % 2 == first:
            ds.SeriesInstanceUID = ""

    series = alter(tmp_path, change)
    (stack,) = list_stacks(tmp_path)
    assert stack.series_uid == series.uid
    assert np.array_equal(read_stack(stack).voxels[0], series.values())


def test_halves_of_a_stack_that_lacks_a_slice_are_refused_once(tmp_path):
    def change(k, ds):
        if k % 2:
            del ds.FrameOfReferenceUID

    alter(tmp_path, change, Series(random_stored((12, 9, 7))))
    (tmp_path / "005").unlink()
    assert refusal(tmp_path).code == "MISSING_SLICE"


def test_an_intercept_that_differs_in_ct_is_told(tmp_path):
    alter(tmp_path, lambda k, ds: setattr(ds, "RescaleIntercept", "0") if k == 3 else None)
    assert any("RescaleIntercept" in note for note in read_scan(tmp_path).provenance.notes)


@pytest.mark.parametrize("differs", ["blank", "other", "each"])
def test_a_frame_of_reference_in_part_of_the_slices_does_not_halve_a_stack(tmp_path, differs):
    other = generate_uid()

    def change(k, ds):
        if k % 2 or differs == "each":
            ds.FrameOfReferenceUID = {"blank": "", "other": other}.get(differs) or generate_uid()

    def blank(k, ds):
        if k % 2:
            del ds.FrameOfReferenceUID

    series = alter(tmp_path, blank if differs == "blank" else change)
    (stack,) = list_stacks(tmp_path)
    assert np.array_equal(read_stack(stack).voxels[0], series.values())
    assert any("FrameOfReferenceUID" in note for note in stack.notes)


def test_interleaved_slices_of_another_spacing_are_refused_once(tmp_path):
    def change(k, ds):
        if k % 2:
            ds.PixelSpacing = ["0.7", "0.41"]

    alter(tmp_path, change)
    assert refusal(tmp_path).code == "INTERLEAVED"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("FlipAngle", lambda n, _: (5, 15)[n]),
        ("PercentSampling", lambda n, _: (80, 90)[n]),
        ("ContentTime", lambda n, k: f"12{n}0{k}0"),
        ("InstanceNumber", lambda n, k: 6 * n + k + 1),
        ("InstanceNumber", lambda n, k: 2 * k + n + 1),
    ],
)
def test_volumes_are_told_apart_and_the_field_is_named(tmp_path, field, value):
    first = Series(random_stored(seed=1))
    second = Series(
        random_stored(seed=2), uid=first.uid, frame_of_reference=first.frame_of_reference
    )
    for n, series in enumerate((first, second)):
        for k in range(6):
            ds = series.slice(k)
            setattr(ds, field, value(n, k))
            save(ds, tmp_path / f"{n}{k}")
    stacks = list_stacks(tmp_path)
    for stack, series in zip(stacks, (first, second), strict=True):
        assert field in stack.split_by
        assert stack.split_by in stack.describe()
        assert np.array_equal(read_stack(stack).voxels[0], series.values())


def test_volumes_side_by_side_are_told_apart_by_place(tmp_path):
    first = Series(random_stored(seed=1))
    second = Series(
        random_stored(seed=2),
        uid=first.uid,
        frame_of_reference=first.frame_of_reference,
        first_mm=first.first_mm + np.array([40.0, 0, 0]),
    )
    for n, series in enumerate((first, second)):
        for k in range(6):
            save(series.slice(k), tmp_path / f"{n}{k}")
    stacks = list_stacks(tmp_path)
    for stack, series in zip(stacks, (first, second), strict=True):
        scan = read_stack(stack)
        assert np.array_equal(scan.voxels[0], series.values())
        assert np.allclose(scan.grid.to_world([0, 0, 0]), series.world(0, 0, 0))


@pytest.mark.parametrize(
    "fields",
    [("RescaleSlope", "RescaleIntercept"), ("PhotometricInterpretation",), ("RescaleType",)],
)
def test_slices_whose_values_mean_something_else_are_refused(tmp_path, fields):
    def change(k, ds):
        ds.RescaleType = "HU"
        for field in fields if k == 3 else ():
            if field.startswith("Rescale") and field != "RescaleType":
                delattr(ds, field)
            else:
                setattr(ds, field, {"RescaleType": "US"}.get(field, "MONOCHROME1"))

    alter(tmp_path, change)
    error = refusal(tmp_path)
    assert error.code == "MIXED_VALUES"
    assert "003" in str(error)


@pytest.mark.parametrize("field", ["PatientID", "StudyInstanceUID"])
def test_slices_of_several_owners_are_told_and_give_no_dicom(tmp_path, field):
    alter(tmp_path, lambda k, ds: setattr(ds, field, f"1.2.{3 + k // 3}"))
    source = read_scan(tmp_path).provenance
    assert any(field in note for note in source.notes)
    assert not source.instance_uids


@pytest.mark.parametrize(("mode", "is_read"), [("0", True), ("1", False), ("2", False)])
@pytest.mark.parametrize("block", [0x10, 0x13])
def test_reversed_polarity_is_never_passed(tmp_path, mode, block, is_read):
    def change(_, ds):
        ds.add_new(0x00190000 | block, "LO", "GEMS_ACQU_01")
        ds.add_new(0x00190000 | block << 8 | 0x9C, "LO", "research/epi_pepolar")
        ds.add_new(0x00190000 | block << 8 | 0xB3, "DS", mode)

    series = alter(tmp_path, change)
    if is_read:
        assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())
    else:
        assert refusal(tmp_path).code == "REVERSED_ROWS"


def test_long_uids_that_differ_at_their_end_are_not_copies(tmp_path):
    series = alter(tmp_path, lambda k, ds: setattr(ds, "SOPInstanceUID", f"1.2.{'3' * 64}.{k}"))
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


def test_float_pixels_are_exact(tmp_path):
    values = np.random.default_rng(1).normal(size=(6, 9, 7)).astype(np.float32)

    def change(k, ds):
        for field in ("PixelData", "BitsStored", "HighBit", "RescaleSlope", "RescaleIntercept"):
            delattr(ds, field)
        ds.BitsAllocated, ds.FloatPixelData = 32, values[k].tobytes()

    alter(tmp_path, change)
    assert np.array_equal(read_scan(tmp_path).voxels[0], values.transpose(2, 1, 0))


def test_an_unusable_value_is_shown(tmp_path):
    def change(_, ds):
        del ds.PixelSpacing
        ds.add_new(0x00280030, "LO", "0.7;0.4")

    alter(tmp_path, change)
    error = refusal(tmp_path)
    assert "PixelSpacing" in str(error)
    assert "0.7;0.4" in str(error)


def test_an_empty_file_is_told_or_is_a_lost_slice(tmp_path):
    series = alter(tmp_path, lambda k, ds: None)
    (tmp_path / "LOCKFILE").touch()
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values())
    assert any("LOCKFILE" in note for note in scan.provenance.notes)
    (tmp_path / "006").touch()
    assert refusal(tmp_path).code == "EMPTY"


@pytest.mark.parametrize("field", ["BitsAllocated", "BitsStored", "Rows", "PixelRepresentation"])
@pytest.mark.parametrize("times", [1, 2])
def test_whole_numbers_in_text_are_numbers(tmp_path, field, times):
    def change(_, ds):
        ds["PixelData"].VR = "OW"
        text, tag = str(ds[field].value), ds[field].tag
        del ds[field]
        ds.add_new(tag, "LO", [text] * times)

    series = alter(tmp_path, change)
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


@pytest.mark.parametrize("field", ["SamplesPerPixel", "NumberOfFrames"])
def test_an_unusable_number_of_pixels_is_shown(tmp_path, field):
    def change(k, ds):
        setattr(ds, field, 1)
        tag = ds[field].tag
        del ds[field]
        ds.add_new(tag, "LO", "1;0")

    alter(tmp_path, change)
    error = refusal(tmp_path)
    assert error.code == "PIXEL_FIELDS"
    assert "'1;0'" in str(error)


def test_missing_factors_are_told(tmp_path):
    series = alter(tmp_path, lambda k, ds: delattr(ds, "RescaleIntercept"))
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values() + 1024)
    assert any("RescaleIntercept missing" in note for note in scan.provenance.notes)


def test_a_sign_that_one_slice_does_not_state_is_not_assumed(tmp_path):
    def change(k, ds):
        if k == 3:
            del ds.PixelRepresentation

    alter(tmp_path, change, Series(random_stored().astype(np.int16)))
    assert refusal(tmp_path).code == "MIXED_VALUES"


def test_pixels_beyond_what_the_header_says_are_told(tmp_path):
    alter(tmp_path, lambda k, ds: setattr(ds, "Rows", 8))
    assert any("more pixels" in note for note in read_scan(tmp_path).provenance.notes)


def test_a_slice_without_a_place_is_missed_whatever_its_frame_of_reference(tmp_path):
    def change(k, ds):
        if k == 5:
            ds.FrameOfReferenceUID = generate_uid()
            del ds.ImageOrientationPatient

    alter(tmp_path, change)
    assert refusal(tmp_path).code == "INCOMPLETE_GEOMETRY"
