import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medseg.volume.resampling import (
    axis_weights,
    resample,
    resample_labels,
    resized,
    shape_for_spacing,
)
from strategies import grids


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 1, 3]))
def test_a_constant_stays_constant(n_in, n_out, order):
    assert np.allclose(axis_weights(n_in, n_out, order).sum(axis=1), 1, atol=1e-5)


def test_cubic_spline_is_scipys_away_from_the_border():
    noise = np.random.default_rng(0).normal(size=(40, 37, 30)).astype(np.float32)
    zoom = (20 / 40, 50 / 37, 31 / 30)
    theirs = ndimage.zoom(noise.astype(float), zoom, order=3, mode="mirror", grid_mode=True)
    ours = resample(noise, (20, 50, 31))
    assert np.abs(ours - theirs)[4:-4, 4:-4, 4:-4].max() < 1e-5


def test_a_ramp_in_millimetres_stays_a_ramp():
    before = stretched_ramp((30, 20, 10))
    after = resample(before, (45, 14, 10), order=3)
    inner = (slice(4, -4), slice(3, -3), slice(3, -3))
    assert np.abs(after - stretched_ramp((45, 14, 10)))[inner].max() < 2e-3


def stretched_ramp(shape):
    i, j, k = np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij")
    return (i + 2 * j + 3 * k).astype(np.float32)


@given(grids(), st.tuples(*[st.integers(1, 20)] * 3))
def test_stretching_keeps_the_box(grid, shape):
    after = resized(grid, shape)
    for corner in (-0.5, None):
        edge = [-0.5] * 3 if corner else [n - 0.5 for n in grid.shape]
        same = [-0.5] * 3 if corner else [n - 0.5 for n in shape]
        assert np.allclose(grid.to_world(edge), after.to_world(same), atol=1e-6)


@given(grids())
def test_the_own_spacing_changes_nothing(grid):
    assert shape_for_spacing(grid, grid.spacing_mm) == grid.shape


def test_labels_never_mix():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[4:10], labels[10:16] = 2, 7
    larger = resample_labels(labels, (33, 20, 20))
    assert larger.dtype == np.uint8
    assert set(np.unique(larger)) == {0, 2, 7}
    assert np.mean(larger == 7) == pytest.approx(np.mean(labels == 7), abs=0.04)
