import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.volume import Grid
from medseg.volume.straightening import Straightening, straightening_of
from strategies import rotation

ANGLES = st.floats(-3, 3)


@st.composite
def tilted_grids(draw):
    shape = draw(st.tuples(*[st.integers(2, 9)] * 3))
    matrix = np.diag(draw(st.tuples(*[st.floats(0.4, 4)] * 3)))
    matrix[0, 2] = matrix[2, 2] * draw(st.floats(-0.6, 0.6))
    matrix[1, 2] = matrix[2, 2] * draw(st.floats(-0.6, 0.6))
    affine = np.eye(4)
    affine[:3, :3] = rotation(draw(st.tuples(ANGLES, ANGLES, ANGLES))) @ matrix
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return Grid(shape, affine)


@given(tilted_grids())
def test_the_target_is_right_angled_and_holds_every_native_voxel(grid):
    target = Straightening(grid).target
    assert target.shear_degrees < 1e-5
    seen = target.to_index(grid.corners_mm())
    assert seen.min() > -1e-5
    assert (seen.max(axis=0) <= np.array(target.shape) - 1 + 1e-5).all()


@settings(deadline=None, max_examples=60)
@given(tilted_grids())
def test_a_ramp_in_millimetres_stays_where_it_is(grid):
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    world = grid.to_world(index)
    straight = Straightening(grid)
    out = straight.apply(np.moveaxis(world, -1, 0), fill=np.nan)
    there = np.stack(np.meshgrid(*map(np.arange, straight.target.shape), indexing="ij"), axis=-1)
    places = straight.target.to_world(there)
    back = grid.to_index(places)
    inside = ((back >= -1e-9) & (back <= np.array(grid.shape) - 1 + 1e-9)).all(axis=-1)
    assert np.isfinite(out[0][inside]).all()
    assert np.abs(np.moveaxis(out, 0, -1) - places)[inside].max(initial=0) < 1e-3


@settings(deadline=None, max_examples=60)
@given(tilted_grids(), st.integers(0, 99))
def test_whole_slices_of_labels_come_back(grid, seed):
    labels = np.zeros(grid.shape, np.uint8)
    labels[:] = np.random.default_rng(seed).integers(1, 4, grid.shape[2])
    straight = Straightening(grid)
    assert np.array_equal(straight.undo_labels(straight.apply_labels(labels)), labels)


def test_a_right_angled_grid_needs_none():
    assert straightening_of(Grid((3, 3, 3), np.eye(4))) is None


@pytest.mark.parametrize("pixels", [1.0, -2.0])
def test_shifts_by_whole_pixels_change_no_label(pixels):
    affine = np.eye(4)
    affine[1, 2] = pixels
    grid = Grid((4, 6, 5), affine)
    labels = np.random.default_rng(0).integers(0, 9, grid.shape).astype(np.uint8)
    straight = Straightening(grid)
    assert np.array_equal(straight.undo_labels(straight.apply_labels(labels)), labels)
