"""Scans and label maps of arrays in memory."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg import LabelMap, Scan, read_labels, read_scan
from medseg.errors import GeometryError, InputError, LabelError

AFFINE = np.array([[-0.9, 0, 0.1, 40], [0, 1.1, 0, -30], [0.1, 0, 2.5, 7], [0, 0, 0, 1.0]])
TILTED = np.array([[0, -1.5, 0, 40], [1.2, 0, 0, -30], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])
VALUES = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def test_an_array_of_nibabel_is_what_the_file_is(tmp_path):
    path = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(VALUES, AFFINE)
    nib.save(image, path)
    scan, read = Scan.from_array(VALUES, image.affine), read_scan(path)
    assert scan.grid.same_as(read.grid, tolerance_mm=1e-4)
    assert np.array_equal(scan.voxels, read.voxels)


def test_an_array_of_simple_itk_is_what_the_file_is(tmp_path):
    path = tmp_path / "scan.nrrd"
    image = sitk.GetImageFromArray(VALUES.transpose())
    image.SetSpacing((1.2, 1.5, 2.5))
    image.SetOrigin((-40, 30, 7))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image).transpose()
    scan, read = Scan.from_array(array, affine, world="LPS"), read_scan(path)
    assert scan.grid.same_as(read.grid, tolerance_mm=1e-4)
    assert np.array_equal(scan.voxels, read.voxels)


@pytest.mark.parametrize(("axis", "position"), [(0, 0), (-1, 3), (3, 3)])
def test_channels_come_first_wherever_they_were(axis, position):
    two = np.stack([VALUES, VALUES + 100], position)
    scan = Scan.from_array(two, TILTED, channel_axis=axis, channel_names=("T1", "T2"))
    assert np.array_equal(scan.voxels[1], VALUES + 100)
    assert scan.channel_names == ("T1", "T2")


def test_an_array_is_neither_copied_nor_locked():
    array = VALUES.copy()
    scan = Scan.from_array(array, TILTED)
    array[0, 0, 0] = 77
    assert scan.voxels[0, 0, 0, 0] == 77


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (VALUES[0], {}),
        (np.stack([VALUES, VALUES]), {}),
        (VALUES, {"channel_axis": 0}),
        (np.stack([VALUES, VALUES]), {"channel_axis": 4}),
        (VALUES[None, None], {"channel_axis": 0}),
    ],
)
def test_an_array_with_other_axes_is_told_what_to_give(array, options):
    with pytest.raises(GeometryError, match=r"channel_axis=0 for \(C, I, J, K\)"):
        Scan.from_array(array, TILTED, **options)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        ((1.0, 1.0, 2.0), "one of a spacing"),
        (np.eye(3), "4 x 4"),
        (np.diag([1, 0, 1, 1]), "singular"),
        (np.diag([1, np.nan, 1, 1]), "NaN"),
        (np.eye(4) * 2, "last row"),
        (None, "4 x 4"),
    ],
)
def test_an_affine_that_places_nothing_is_refused(affine, message):
    with pytest.raises(GeometryError, match=message):
        Scan.from_array(VALUES, affine)
    with pytest.raises(GeometryError, match=message):
        LabelMap.from_array(VALUES > 5, affine, {1: "a"})


def test_an_unknown_world_is_refused():
    with pytest.raises(GeometryError, match="'RAI'"):
        Scan.from_array(VALUES, TILTED, world="RAI")


def test_voxels_and_names_of_channels_must_suit():
    with pytest.raises(InputError, match="real numbers"):
        Scan.from_array(np.full((2, 2, 2), "a"), TILTED)
    with pytest.raises(InputError, match=r"2 channel names for 1 channel"):
        Scan.from_array(VALUES, TILTED, channel_names=("T1", "T2"))


def test_labels_of_an_array_are_what_the_file_is(tmp_path):
    from medseg import write_labels

    array = (VALUES > 20).astype(np.int64) + (VALUES > 40)
    labels = LabelMap.from_array(array, AFFINE, {1: "liver", 2: "spleen"})
    read = read_labels(write_labels(labels, tmp_path / "labels.nii.gz"))
    assert read.table.names == ("liver", "spleen")
    assert np.array_equal(read.values, array)
    assert read.grid.same_as(labels.grid, tolerance_mm=1e-4)


def test_labels_must_be_whole_named_and_three_dimensional():
    with pytest.raises(LabelError, match=r"\[2\]"):
        LabelMap.from_array(np.full((2, 2, 2), 2), TILTED, {1: "liver"})
    with pytest.raises(LabelError, match="whole"):
        LabelMap.from_array(np.full((2, 2, 2), 0.5), TILTED, {1: "liver"})
    with pytest.raises(GeometryError, match=r"\(2, 2, 2, 3\).*one value for each voxel"):
        LabelMap.from_array(np.zeros((2, 2, 2, 3)), TILTED, {1: "liver"})


def test_left_and_right_are_those_of_the_world():
    ras = Scan.from_array(VALUES, np.eye(4))
    lps = Scan.from_array(VALUES, np.diag([-1, -1, 1, 1.0]), world="LPS")
    assert ras.grid.same_as(lps.grid)
    assert not ras.grid.same_as(Scan.from_array(VALUES, np.eye(4), world="LPS").grid)
