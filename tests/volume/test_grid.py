import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import GeometryError
from medseg.volume import Grid
from strategies import grids


@given(grids(), st.tuples(*[st.floats(-20, 20)] * 3))
def test_world_and_index_are_inverse(grid, index):
    assert np.allclose(grid.to_index(grid.to_world(index)), index, atol=1e-6)


def test_world_position_by_hand():
    grid = Grid((2, 3, 4), np.array([[0, 2, 0, 10], [3, 0, 0, 20], [0, 0, -4, 30], [0, 0, 0, 1]]))
    assert grid.to_world((1, 1, 1)).tolist() == [12.0, 23.0, 26.0]
    assert grid.spacing_mm == (3.0, 2.0, 4.0)
    assert grid.voxel_volume_mm3 == pytest.approx(24.0)


@given(grids())
def test_a_right_angled_grid_has_no_shear(grid):
    assert grid.shear_degrees < 0.01


def test_tilt_shows_as_shear():
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(18.5))
    assert Grid((2, 2, 2), affine).shear_degrees == pytest.approx(18.5, abs=1e-6)


def test_same_as_measures_the_far_corner():
    grid = Grid((100, 100, 100), np.eye(4))
    scaled = np.diag([1.001, 1, 1, 1.0])
    assert grid.same_as(Grid((100, 100, 100), scaled), tolerance_mm=0.1)
    assert not grid.same_as(Grid((100, 100, 100), scaled), tolerance_mm=0.09)
    assert not grid.same_as(Grid((100, 100, 99), np.eye(4)))


@pytest.mark.parametrize(
    ("affine", "word"),
    [
        (np.eye(3), "4 x 4"),
        (np.diag([1, 1, 0, 1]), "singular"),
        (np.diag([1, np.nan, 1, 1]), "NaN"),
        (np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]), "last row"),
    ],
)
def test_an_impossible_affine_is_refused(affine, word):
    with pytest.raises(GeometryError, match=word):
        Grid((2, 2, 2), affine)


def test_the_affine_cannot_be_changed_afterwards():
    source = np.eye(4)
    grid = Grid((1, 1, 1), source)
    source[0, 3] = 5
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1


@pytest.mark.parametrize(("voxel_mm", "apart_mm"), [(1.2, 0.1), (0.001, 0.00009), (5.0, 0.4)])
def test_grids_match_to_a_tenth_of_a_voxel_whatever_its_size(voxel_mm, apart_mm):
    grid = Grid((4, 5, 6), np.diag([voxel_mm, voxel_mm, 2 * voxel_mm, 1.0]))
    affine = np.array(grid.affine)
    affine[1, 3] += apart_mm
    assert grid.matches(Grid(grid.shape, affine))
    affine[1, 3] += apart_mm
    assert not grid.matches(Grid(grid.shape, affine))
    assert not Grid(grid.shape, affine).matches(grid)


def test_the_difference_of_grids_is_told_by_what_differs():
    grid = Grid((4, 5, 6), np.diag([1.2, 1.2, 1.2, 1.0]))
    other = Grid((4, 5, 7), np.eye(4))
    assert grid.difference(other) == (
        "(4, 5, 6) voxels against (4, 5, 7), spacing 1.2 x 1.2 x 1.2 mm against 1 x 1 x 1 mm"
    )
    moved = np.diag([1.2, 1.2, 1.2, 1.0])
    moved[:3, 3] = 3, 4, 0
    assert grid.difference(Grid(grid.shape, moved)) == "voxels up to 5 mm apart"
