import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import GeometryError
from medseg.volume import Grid
from medseg.volume import conventions as conv
from strategies import grids

ORDERS = [
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*axes)
]


@given(grids(), st.sampled_from(ORDERS))
def test_reorientation_keeps_every_voxel_at_its_place(grid, letters):
    turn = conv.Reorientation.towards(grid, letters)
    voxels = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    turned = turn.apply(voxels)
    assert turned.shape == turn.target.shape
    for index in itertools.product(*(range(0, n, max(n - 1, 1)) for n in turned.shape)):
        home = np.rint(grid.to_index(turn.target.to_world(index))).astype(int)
        assert turned[index] == voxels[tuple(home)]
    assert np.array_equal(turn.undo(turned), voxels)


@given(grids(), st.sampled_from(ORDERS))
def test_reorientation_agrees_with_nibabel(grid, letters):
    turn = conv.Reorientation.towards(grid, letters)
    ours = conv.orientation_letters(turn.target)
    assert ours == letters == "".join(nib.aff2axcodes(turn.target.affine))


@given(grids())
def test_itk_and_we_place_voxels_alike(grid):
    spacing, origin, direction = conv.itk_from_affine(grid.affine)
    image = sitk.Image(*grid.shape, sitk.sitkUInt8)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())
    last = tuple(n - 1 for n in grid.shape)
    lps = image.TransformIndexToPhysicalPoint(last)
    assert np.allclose(conv.flip_lps_ras_points(lps), grid.to_world(last), atol=1e-6)
    back = conv.affine_from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert np.allclose(back, grid.affine, atol=1e-9)


def test_dicom_equation_with_unlike_spacings():
    affine = conv.affine_from_dicom([0, 1, 0, 0, 0, -1], [0.7, 0.4], [10, 20, 30], [3, 0, 0])
    column, row, slice_ = 5, 7, 2
    lps = np.array([10 + 3 * slice_, 20 + 0.4 * column, 30 - 0.7 * row])
    grid = Grid((9, 9, 9), affine)
    assert np.allclose(grid.to_world((column, row, slice_)), lps * [-1, -1, 1])


def test_itk_cannot_hold_shear():
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(GeometryError, match="sheared"):
        conv.itk_from_affine(affine)


def test_letters_must_name_three_axes():
    with pytest.raises(GeometryError, match="RLS"):
        conv.Reorientation.towards(Grid((1, 1, 1), np.eye(4)), "RLS")


@pytest.mark.parametrize("letters", ["RAS", "LAS", "LPS", "RPI"])
def test_axes_of_any_sides_become_ras(letters):
    affine = np.array([[2.0, 1, 0, 5], [0, 3, 1, -7], [1, 0, 4, 9], [0, 0, 0, 1]])
    turned = conv.ras_from(affine, letters)
    for axis, (letter, opposite) in enumerate(zip(letters, "LPI", strict=True)):
        sign = -1 if letter == opposite else 1
        assert np.array_equal(turned[axis], sign * affine[axis])
