"""Frames of enhanced, nuclear and other files: one volume however it is cut into files."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    MRSpectroscopyStorage,
    NuclearMedicineImageStorage,
    RLELossless,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from dicom_phantom import Series, random_stored, rotation, save
from medseg.discovery.inspection import inspect
from medseg.errors import InputError
from medseg.reading import read_scan
from medseg.reading.dicom import decoder_pool
from medseg.reading.dicom.series import list_stacks, read_stack


def group(**fields):
    """A functional group of one item."""
    item = Dataset()
    for keyword, value in fields.items():
        setattr(item, keyword, value)
    return [item]


def enhanced(series, frames, **tags):
    """An enhanced file of these frames: (slice, stored plane, further groups)."""
    ds = series.slice(0)
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
        *("RescaleSlope", "RescaleIntercept"),
    ):
        delattr(ds, keyword)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.Modality, ds.NumberOfFrames = "MR", len(frames)
    items = []
    for k, _, more in frames:
        item = Dataset()
        position = [format_number_as_ds(x) for x in series.position(k)]
        turn = [format_number_as_ds(x) for x in series.orientation]
        item.PlanePositionSequence = group(ImagePositionPatient=position)
        item.PlaneOrientationSequence = group(ImageOrientationPatient=turn)
        item.PixelMeasuresSequence = group(
            PixelSpacing=list(series.pixel_spacing_mm), SliceThickness=2.5
        )
        for keyword, content in more.items():
            setattr(item, keyword, content)
        items.append(item)
    ds.PerFrameFunctionalGroupsSequence = items
    ds.PixelData = np.stack([plane for _, plane, _ in frames]).tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def mr(shape=(6, 9, 7), seed=0, **changes):
    """An oblique series whose values are those stored."""
    turn = rotation((0.9, 0.2, -0.3, 0.1))[:, :2].T.ravel()
    return Series(random_stored(shape, seed), orientation=turn, intercept=0.0, **changes)


def assert_is(scan, series):
    """The scan has the values of a series, at its places."""
    assert np.array_equal(scan.voxels[0], series.values())
    ends = [[0, 0, 0], [6, 8, len(series.stored) - 1]]
    assert np.allclose(scan.grid.to_world(ends), [series.world(*end) for end in ends], atol=1e-3)


@pytest.mark.parametrize("uid", ["", "1.2.3.4"])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_enhanced_files_of_some_slices_are_one_volume(tmp_path, frames, uid):
    series = mr()
    tags = {"ConcatenationUID": uid} if uid else {}
    for start in range(0, 6, frames):
        parts = [(k, series.stored[k], {}) for k in range(start, start + frames)]
        save(enhanced(series, parts, **tags), tmp_path / str(start))
    assert_is(read_scan(tmp_path), series)
    assert len(inspect(tmp_path)) == 1


def test_enhanced_files_of_a_slice_at_a_time_are_told_apart(tmp_path):
    first = mr()
    shared = {"uid": first.uid, "frame_of_reference": first.frame_of_reference}
    times = [mr(seed=seed, **shared) for seed in (1, 2)]
    for time, series in zip((100, 180), times, strict=True):
        for k in range(6):
            ds = enhanced(series, [(k, series.stored[k], {})], InversionTime=time)
            save(ds, tmp_path / f"{time}-{k}")
    stacks = list_stacks(tmp_path)
    assert [stack.split_by for stack in stacks] == ["InversionTime 100.0", "InversionTime 180.0"]
    for stack, series in zip(stacks, times, strict=True):
        assert_is(read_stack(stack), series)


def test_frames_are_told_apart_by_their_dimensions(tmp_path):
    series, other = mr(), mr(seed=1)
    frames = []
    for index, volume in enumerate((series, other), start=1):
        for k in range(6):
            content = group(DimensionIndexValues=[index, k + 1])
            frames.append((k, volume.stored[k], {"FrameContentSequence": content}))
    pointers = [group(DimensionIndexPointer=tag)[0] for tag in (0x00211001, 0x00200032)]
    ds = enhanced(series, frames, DimensionIndexSequence=pointers)
    save(ds, tmp_path / "1")
    stacks = list_stacks(tmp_path)
    for stack, volume in zip(stacks, (series, other), strict=True):
        assert "imension" in stack.split_by
        assert_is(read_stack(stack), volume)


def test_a_single_enhanced_frame_is_as_deep_as_its_group_says(tmp_path):
    series = mr((1, 9, 7))
    save(enhanced(series, [(0, series.stored[0], {})]), tmp_path / "1")
    scan = read_scan(tmp_path)
    assert np.allclose(scan.grid.spacing_mm, (0.4, 0.7, 2.5))


def reconstruction(series, *, step_mm=2.5, **tags):
    """Nuclear medicine: one file, whose detector says where its first frame lies."""
    ds = series.slice(0)
    detector = group(
        ImagePositionPatient=ds.ImagePositionPatient,
        ImageOrientationPatient=ds.ImageOrientationPatient,
    )
    del ds.ImagePositionPatient, ds.ImageOrientationPatient
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = NuclearMedicineImageStorage
    ds.Modality, ds.ImageType = "NM", ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.NumberOfFrames, ds.DetectorInformationSequence = len(series.stored), detector
    ds.SpacingBetweenSlices = step_mm
    ds.SliceVector = list(range(1, len(series.stored) + 1))
    ds.PixelData = series.stored.tobytes()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def test_a_reconstruction_lies_where_its_detector_says(tmp_path):
    series = mr()
    save(reconstruction(series), tmp_path / "1")
    assert_is(read_scan(tmp_path), series)


def test_a_negative_spacing_stacks_a_reconstruction_downwards(tmp_path):
    series = mr()
    save(reconstruction(series, step_mm=-2.5), tmp_path / "1")
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values()[..., ::-1])
    assert np.allclose(scan.grid.to_world([0, 0, 5]), series.world(0, 0, 0), atol=1e-3)


def test_a_reconstruction_without_a_spacing_is_refused_truly(tmp_path):
    save(reconstruction(mr(), SpacingBetweenSlices=None), tmp_path / "1")
    with pytest.raises(InputError, match="SpacingBetweenSlices") as caught:
        read_scan(tmp_path)
    assert inspect(tmp_path)[0].verdict.code == caught.value.code


def test_spectroscopy_is_no_scan_and_is_not_offered(tmp_path):
    series = Series(random_stored())
    series.write(tmp_path)
    ds = series.slice(0)
    del ds.PixelData
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRSpectroscopyStorage
    ds.SeriesInstanceUID, ds.SOPInstanceUID = generate_uid(), generate_uid()
    save(ds, tmp_path / "spectrum")
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())
    assert len(inspect(tmp_path)) == 1


def test_copies_in_another_encoding_are_left_out_by_one_crew(tmp_path, monkeypatch):
    series, pools = Series(random_stored()), []
    start = decoder_pool.DecoderPool.__enter__

    def count(pool):
        pools.append(pool)
        return start(pool)

    monkeypatch.setattr(decoder_pool.DecoderPool, "__enter__", count)
    for k in range(6):
        ds = series.slice(k)
        save(ds, tmp_path / f"{k}")
        ds.compress(RLELossless, generate_instance_uid=False)
        save(ds, tmp_path / f"{k}-copy")
    (stack,) = list_stacks(tmp_path)
    assert (len(stack.frames), stack.copies, len(pools)) == (6, 6, 1)


def test_positions_rounded_to_a_tenth_are_even(tmp_path):
    series = Series(random_stored((12, 5, 4)), step_mm=np.array([0, 0, 7 / 3]))
    for k in range(12):
        ds = series.slice(k)
        ds.ImagePositionPatient = [f"{x:.1f}" for x in series.position(k)]
        save(ds, tmp_path / f"{k}")
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


def test_decimal_commas_are_points_and_told(tmp_path):
    series = Series(random_stored())
    for k in range(6):
        ds = series.slice(k)
        for keyword in ("PixelSpacing", "ImagePositionPatient", "RescaleIntercept"):
            text, tag = "\\".join(map(str, np.atleast_1d(ds[keyword].value))), ds[keyword].tag
            del ds[keyword]
            ds.add_new(tag, "LO", text.replace(".", ","))
        save(ds, tmp_path / f"{k}")
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values())
    assert np.allclose(scan.grid.to_world([3, 4, 5]), series.world(3, 4, 5))
    assert any("decimal commas" in note for note in scan.provenance.notes)
