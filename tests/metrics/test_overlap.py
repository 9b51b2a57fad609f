"""Overlap and volumes against counts made one label at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import GeometryError
from medseg.metrics import overlap, volumes_ml
from medseg.volume import Grid, LabelMap, LabelTable

TABLE = LabelTable.of({1: "liver", 5: "cyst", 60000: "nowhere"})
GRID = Grid((6, 5, 4), np.diag([2.0, -3.0, 5.0, 1.0]))
VOXEL_ML = 0.03


def random_map(seed, grid=GRID):
    values = np.random.default_rng(seed).choice([0, 1, 5], grid.shape).astype(np.uint16)
    return LabelMap(values, grid, TABLE)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(0, 99), st.booleans())
def test_equal_to_counting(first, second, fortran):
    prediction, truth = random_map(first), random_map(second)
    if fortran:
        prediction = LabelMap(np.asfortranarray(prediction.values), GRID, TABLE)
    scores = overlap(prediction, truth)
    assert list(scores) == ["liver", "cyst", "nowhere"]
    for name, value in (("liver", 1), ("cyst", 5)):
        p, t = prediction.values == value, truth.values == value
        shared = (p & t).sum()
        assert scores[name].dice == pytest.approx(2 * shared / (p.sum() + t.sum()))
        assert scores[name].iou == pytest.approx(shared / (p | t).sum())
        assert scores[name].volume_ml == pytest.approx(p.sum() * VOXEL_ML)
        assert scores[name].reference_volume_ml == pytest.approx(t.sum() * VOXEL_ML)


def test_empty_in_both_is_no_score():
    score = overlap(random_map(0), random_map(1))["nowhere"]
    assert (score.dice, score.iou) == (None, None)
    assert (score.volume_ml, score.reference_volume_ml) == (0.0, 0.0)


def test_empty_in_one_is_zero():
    truth = random_map(1)
    nothing = LabelMap(np.zeros(GRID.shape, np.uint8), GRID, TABLE)
    assert overlap(nothing, truth)["liver"].dice == 0.0
    assert overlap(truth, nothing)["liver"].iou == 0.0


def test_a_value_the_truth_does_not_know_is_background():
    other = LabelTable.of({1: "liver", 9: "stone"})
    prediction = LabelMap(np.full(GRID.shape, 9, np.uint8), GRID, other)
    truth = LabelMap(np.ones(GRID.shape, np.uint8), GRID, LabelTable.of({1: "liver"}))
    score = overlap(prediction, truth)["liver"]
    assert (score.dice, score.volume_ml) == (0.0, 0.0)


def test_other_counts_are_named():
    other = Grid((6, 5, 3), GRID.affine)
    with pytest.raises(GeometryError, match=r"\(6, 5, 3\).*\(6, 5, 4\)"):
        overlap(random_map(0, other), random_map(0))


def test_another_place_is_named_in_mm():
    moved = GRID.affine.copy()
    moved[0, 3] += 1.5
    with pytest.raises(GeometryError, match=r"1\.5 mm"):
        overlap(random_map(0, Grid(GRID.shape, moved)), random_map(0))


def test_volumes_count_sheared_voxels_exactly():
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    affine[1, 2] = 1.7  # a shear changes no volume
    labels = random_map(3, Grid((6, 5, 4), affine))
    volumes = volumes_ml(labels)
    assert volumes["liver"] == pytest.approx((labels.values == 1).sum() * VOXEL_ML)
    assert volumes["nowhere"] == 0.0
