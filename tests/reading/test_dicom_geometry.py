"""DICOM slices land where PS3.3 C.7.6.2.1.1 says, whatever the files are called."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from dicom_phantom import Series, random_stored, rotation, save
from medseg.errors import GeometryError, SelectionError
from medseg.reading import read_scan
from medseg.reading.dicom.series import list_stacks, read_stack

QUATERNIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


def assert_oracle(scan, series, *, within_mm=1e-6):
    """Every voxel's place and value by the formula, independent of the reader."""
    assert np.array_equal(scan.voxels[0], series.values())
    count = np.array(scan.grid.shape) - 1
    index = np.array([(0, 0, 0), count, (count[0], 0, 0), (0, count[1], 0), (0, 0, count[2])])
    truth = np.array([series.world(*one) for one in index])
    np.testing.assert_allclose(scan.grid.to_world(index), truth, atol=within_mm)


@settings(max_examples=25, deadline=None)
@given(
    QUATERNIONS,
    st.tuples(st.floats(0.3, 3), st.floats(0.3, 3), st.floats(0.5, 7)),
    st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    st.integers(2, 6),
)
def test_any_orientation_spacing_and_shear(quaternion, spacing, shear, slices):
    turn = rotation(quaternion)
    step = turn @ (*np.multiply(shear, spacing[2]), spacing[2])
    series = Series(
        random_stored((slices, 5, 3)),
        orientation=turn[:, :2].T.ravel(),
        pixel_spacing_mm=spacing[:2],
        step_mm=step,
    )
    with tempfile.TemporaryDirectory() as folder:
        series.write(Path(folder))
        assert_oracle(read_scan(folder), series)


def test_anisotropic_axes_are_not_swapped(tmp_path):
    series = Series(random_stored((4, 9, 7)), pixel_spacing_mm=(0.7, 0.4))
    series.write(tmp_path)
    scan = read_scan(tmp_path)
    assert scan.grid.shape == (7, 9, 4)
    assert scan.grid.spacing_mm == pytest.approx((0.4, 0.7, 2.5))
    assert_oracle(scan, series)


def test_one_file_and_uid_per_slice_in_order(tmp_path):
    series = Series(random_stored())
    paths = series.write(tmp_path)
    source = read_scan(tmp_path).provenance
    assert source.files == tuple(paths)
    assert source.series_uid == series.uid
    assert len(set(source.instance_uids)) == len(paths)


def test_instance_numbers_do_not_matter(tmp_path):
    series = Series(random_stored())
    for k, number in enumerate([5, 1, 4, 2, 6, 3]):
        ds = series.slice(k)
        ds.InstanceNumber, ds.SliceLocation = number, -7.0 * number
        ds.SpacingBetweenSlices = -4.0
        save(ds, tmp_path / f"{number}.dcm")
    assert_oracle(read_scan(tmp_path), series)


def test_nested_folders_and_no_preamble(tmp_path):
    series = Series(random_stored())
    for k in range(6):
        ds = series.slice(k)
        (tmp_path / f"sub{k % 2}").mkdir(exist_ok=True)
        del ds.file_meta
        ds.save_as(tmp_path / f"sub{k % 2}" / str(9 - k), implicit_vr=k < 3, little_endian=True)
    (tmp_path / "notes.txt").write_text("not an image")
    assert_oracle(read_scan(tmp_path), series)


def test_tilt_keeps_the_sheared_affine(tmp_path):
    angle = np.radians(18.5)
    series = Series(random_stored(), step_mm=4 * np.array([0, np.sin(angle), np.cos(angle)]))
    series.write(tmp_path)
    scan = read_scan(tmp_path)
    assert scan.grid.shear_degrees == pytest.approx(18.5, abs=0.01)
    assert any("18.5 degrees" in note for note in scan.provenance.notes)
    assert_oracle(scan, series)


def test_missing_slice_is_named(tmp_path):
    Series(random_stored()).write(tmp_path, skip=(3,))
    with pytest.raises(GeometryError, match=r"slices 3 and 4 of 5 lie 5\.00 mm apart") as caught:
        read_scan(tmp_path)
    assert caught.value.code == "MISSING_SLICE"


@pytest.mark.parametrize(("axis", "off"), [(2, 0.3), (0, 0.3)])
def test_uneven_slices_are_refused(tmp_path, axis, off):
    series = Series(random_stored())
    series.write(tmp_path)
    ds = series.slice(2)
    position = series.position(2)
    position[axis] += off
    ds.ImagePositionPatient = list(position)
    save(ds, series.write(tmp_path)[2])
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "IRREGULAR"


def test_jitter_of_a_few_micrometres_is_accepted(tmp_path):
    series = Series(random_stored())
    paths = series.write(tmp_path)
    for k, path in enumerate(paths):
        ds = series.slice(k)
        ds.ImagePositionPatient = list(np.add(series.position(k), [0, 0, 0.004 * (-1) ** k]))
        ds.ImageOrientationPatient = [1, 1e-5 * k, 0, 0, 1, 0]
        save(ds, path)
    assert_oracle(read_scan(tmp_path), series, within_mm=0.01)


def test_copies_are_left_out_and_noted(tmp_path):
    series = Series(random_stored())
    paths = series.write(tmp_path)
    (tmp_path / "copy").write_bytes(paths[1].read_bytes())
    scan = read_scan(tmp_path)
    assert any("1 copies" in note for note in scan.provenance.notes)
    assert_oracle(scan, series)


def test_same_uid_with_other_pixels_is_refused(tmp_path):
    series = Series(random_stored())
    paths = series.write(tmp_path)
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(GeometryError, match="copy") as caught:
        read_scan(tmp_path)
    assert caught.value.code == "DUPLICATE_UID"


def test_same_position_without_a_difference_is_ambiguous(tmp_path):
    series = Series(random_stored())
    series.write(tmp_path)
    ds = series.slice(2)
    ds.PixelData = bytes(len(ds.PixelData))
    save(ds, tmp_path / "other")
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "AMBIGUOUS_4D"


def test_two_echoes_become_two_stacks(tmp_path):
    uid, frame = generate_uid(), generate_uid()
    echoes = [
        Series(random_stored(seed=n), uid=uid, frame_of_reference=frame, tags={"EchoTime": time})
        for n, time in enumerate((30.0, 100.0, 9.5))
    ]
    for n, series in enumerate(echoes):
        series.write(tmp_path, prefix=f"{n}_")
    stacks = list_stacks(tmp_path)
    assert [stack.selector for stack in stacks] == [f"{uid}#{n}" for n in (1, 2, 3)]
    for stack, n in zip(stacks, (2, 0, 1), strict=True):  # in the order of the echo times
        assert_oracle(read_stack(stack), echoes[n])
    assert_oracle(read_scan(tmp_path, series=f"{uid}#3"), echoes[1])


def test_two_series_need_a_choice(tmp_path):
    one, two = Series(random_stored((3, 5, 4))), Series(random_stored((5, 6, 8)))
    one.write(tmp_path / "a")
    two.write(tmp_path / "b")
    with pytest.raises(SelectionError, match="--series") as caught:
        read_scan(tmp_path)
    lines = str(caught.value).splitlines()
    assert one.uid in lines[1]
    assert "CT" in lines[1]
    assert "4 x 5" in lines[1]
    assert "3 slice(s)" in lines[1]
    assert two.uid in lines[2]
    assert caught.value.code == "NEEDS_SELECTION"
    for series in (two.uid, "2"):
        assert_oracle(read_scan(tmp_path, series=series), two)
    with pytest.raises(SelectionError, match="none of the series"):
        read_scan(tmp_path, series="9.9.9")


def test_unique_beginning_of_a_uid_chooses(tmp_path):
    one = Series(random_stored((3, 5, 4)), uid="1.2.3.10")
    two = Series(random_stored((3, 5, 4)), uid="1.2.4.10")
    one.write(tmp_path / "a")
    two.write(tmp_path / "b")
    assert read_scan(tmp_path, series="1.2.4").provenance.series_uid == "1.2.4.10"
    with pytest.raises(SelectionError, match="matches 2"):
        read_scan(tmp_path, series="1.2.")


@pytest.mark.parametrize("size", [(1, 11, 7), (1, 9, 7)])
def test_a_scout_is_a_stack_of_its_own(tmp_path, size):
    series = Series(random_stored())
    series.write(tmp_path)
    scout = Series(
        random_stored(size),
        uid=series.uid,
        frame_of_reference=series.frame_of_reference,
        orientation=np.array([1.0, 0, 0, 0, 0, -1]),
    )
    scout.write(tmp_path, prefix="scout")
    with pytest.raises(SelectionError):
        read_scan(tmp_path)
    sizes = [len(stack.frames) for stack in list_stacks(tmp_path)]
    assert sorted(sizes) == [1, 6]


def test_other_pixel_spacing_in_one_slice_needs_a_choice(tmp_path):
    series = Series(random_stored())
    paths = series.write(tmp_path)
    ds = series.slice(5)
    ds.PixelSpacing = [0.7, 0.41]
    save(ds, paths[5])
    with pytest.raises(SelectionError):
        read_scan(tmp_path)


def test_one_slice_without_position_is_refused(tmp_path):
    series = Series(random_stored())
    paths = series.write(tmp_path)
    ds = series.slice(5)
    del ds.ImagePositionPatient
    save(ds, paths[5])
    with pytest.raises(GeometryError, match=paths[5].name) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "INCOMPLETE_GEOMETRY"


def test_no_geometry_at_all_is_refused(tmp_path):
    series = Series(random_stored())
    for k, path in enumerate(series.write(tmp_path)):
        ds = series.slice(k)
        del ds.ImagePositionPatient, ds.ImageOrientationPatient
        save(ds, path)
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "NO_GEOMETRY"


def test_screenshots_beside_a_series_are_passed_over_and_noted(tmp_path):
    series = Series(random_stored())
    series.write(tmp_path)
    shot = Series(random_stored((1, 20, 30))).slice(0)
    del shot.ImagePositionPatient, shot.ImageOrientationPatient
    save(shot, tmp_path / "shot")
    scan = read_scan(tmp_path)
    assert_oracle(scan, series)
    assert any("1 other image" in note for note in scan.provenance.notes)


def test_a_false_normal_is_refused(tmp_path):
    series = Series(random_stored(), orientation=np.array([1.0, 0, 0, 0.5, 1, 0]))
    series.write(tmp_path)
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "BAD_ORIENTATION"


def test_corners_are_checked_against_every_slice(tmp_path):
    """A turn too small to part the stacks, but large enough over the width of a slice."""
    series = Series(random_stored((4, 5, 900)), pixel_spacing_mm=(1.0, 1.0))
    paths = series.write(tmp_path)
    ds = series.slice(3)
    ds.ImageOrientationPatient = [1, 0.0009, 0, -0.0009, 1, 0]
    save(ds, paths[3])
    with pytest.raises(GeometryError, match="slice 4 of 4") as caught:
        read_scan(tmp_path)
    assert caught.value.code == "SELF_CHECK"
