"""Surface distances against every pair of surface voxels, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import GeometryError
from medseg.metrics import surface_distances
from medseg.volume import Grid, LabelMap, LabelTable

TABLE = LabelTable.of({1: "organ"})
SPACING = np.array([2.0, 0.5, 3.0])


def label_map(mask, spacing=SPACING):
    grid = Grid(mask.shape, np.diag([*spacing, 1.0]))
    return LabelMap(mask.astype(np.uint8), grid, TABLE)


def surface_points(mask):
    points = []
    for place in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                if mask.shape[axis] == 1:
                    continue
                if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                    points.append(tuple(place))
    return np.array(sorted(set(points)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(6, 7, 5), (9, 8, 1), (1, 6, 7)]))
def test_equal_to_all_pairs(seed, shape):
    rng = np.random.default_rng(seed)
    predicted, true = rng.random(shape) < 0.4, rng.random(shape) < 0.4
    predicted.flat[0] = true.flat[-1] = True
    found = surface_distances(label_map(predicted), label_map(true), tolerance_mm=0.6)["organ"]
    first, second = (surface_points(mask) * SPACING for mask in (predicted, true))
    apart = np.linalg.norm(first[:, None] - second[None], axis=-1)
    there, back = apart.min(1), apart.min(0)
    assert found.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found.assd_mm == pytest.approx(np.concatenate([there, back]).mean())
    close = (there <= 0.6).sum() + (back <= 0.6).sum()
    assert found.nsd == pytest.approx(close / (len(there) + len(back)))


def test_a_box_moved_by_two_voxels_is_their_distance_away():
    first, second = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    first[4:10, 5:15, 5:15] = True
    second[6:12, 5:15, 5:15] = True
    found = surface_distances(label_map(first), label_map(second))["organ"]
    assert found.hd95_mm == pytest.approx(4.0)


@pytest.mark.filterwarnings("ignore")
def test_distances_are_those_of_monai():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    rng = np.random.default_rng(4)
    masks = [rng.random((9, 11, 7)) < 0.5 for _ in range(2)]
    found = surface_distances(*map(label_map, masks))["organ"]
    onehot = [torch.as_tensor(mask)[None, None].float() for mask in masks]
    options = {"include_background": True, "spacing": tuple(SPACING)}
    theirs = compute_average_surface_distance(*onehot, symmetric=True, **options)
    assert found.assd_mm == pytest.approx(float(theirs), rel=1e-5)
    theirs = compute_hausdorff_distance(*onehot, percentile=95, **options)
    assert found.hd95_mm == pytest.approx(float(theirs), rel=1e-5)


def test_a_label_one_slice_thick_is_all_surface():
    mask = np.zeros((8, 8, 8), bool)
    mask[2:6, 2:6, 4] = True
    same = surface_distances(label_map(mask), label_map(mask))["organ"]
    assert (same.hd95_mm, same.assd_mm, same.nsd) == (0.0, 0.0, 1.0)


def test_empty_maps_have_no_distance():
    empty, full = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    neither = surface_distances(label_map(empty), label_map(empty))["organ"]
    assert (neither.hd95_mm, neither.assd_mm, neither.nsd) == (None, None, None)
    missed = surface_distances(label_map(empty), label_map(full))["organ"]
    assert (missed.hd95_mm, missed.assd_mm, missed.nsd) == (None, None, 0.0)


def test_other_grids_are_refused():
    mask = np.ones((4, 4, 4), bool)
    with pytest.raises(GeometryError, match=r"spacing 2 x 0\.5 x 3 mm against 2\.2"):
        surface_distances(label_map(mask), label_map(mask, SPACING * 1.1))
