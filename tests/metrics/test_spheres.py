"""Scores of spheres, whose truth is a formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.metrics import by_region, overlap, surface_distances
from medseg.volume import Grid, LabelMap, LabelTable

SPACING_MM = np.array([0.7, 0.9, 1.1])
SHAPE = (80, 66, 54)
CENTRE_MM = np.array([27.0, 29.0, 29.0])
VOXEL_MM = float(np.linalg.norm(SPACING_MM))
ORGAN = LabelTable.of({1: "organ"})


def grid():
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * SPACING_MM
    return Grid(SHAPE, affine)


def ball(radius_mm, *, moved_mm=0.0):
    """Voxels whose centre is in a sphere moved along the first axis."""
    offset = np.indices(SHAPE).T * SPACING_MM - CENTRE_MM - (moved_mm, 0, 0)
    return ((offset**2).sum(-1) < radius_mm**2).T


def label_map(mask, table=ORGAN):
    return LabelMap(mask.astype(np.uint8), grid(), table)


@pytest.mark.parametrize(("inner_mm", "outer_mm"), [(14.0, 18.0), (20.0, 23.0)])
def test_spheres_in_one_another_are_apart_by_the_difference_of_their_radii(inner_mm, outer_mm):
    inner, outer = label_map(ball(inner_mm)), label_map(ball(outer_mm))
    gap_mm = outer_mm - inner_mm
    near = surface_distances(inner, outer, tolerance_mm=gap_mm - VOXEL_MM)["organ"]
    far = surface_distances(inner, outer, tolerance_mm=gap_mm + VOXEL_MM)["organ"]
    assert near.hd95_mm == pytest.approx(gap_mm, abs=VOXEL_MM / 2)
    assert near.nsd < 0.02
    assert far.nsd == 1.0


@pytest.mark.parametrize("moved_mm", [4.0, 7.0])
def test_a_moved_sphere_is_as_far_away_as_the_formula_says(moved_mm):
    """A point at angle t has the distance |sqrt(r^2 + d^2 - 2 r d cos t) - r|; cos t is uniform.

    Surfaces are made of voxels, so distances hold to half a voxel, and so does the tolerance.
    """
    radius_mm = 16.0
    cosine = np.linspace(-1, 1, 200_001)
    away = np.sqrt(radius_mm**2 + moved_mm**2 - 2 * radius_mm * moved_mm * cosine)
    apart_mm = np.abs(away - radius_mm)
    truth, found = label_map(ball(radius_mm)), label_map(ball(radius_mm, moved_mm=moved_mm))
    tolerance_mm = moved_mm / 2
    scores = surface_distances(found, truth, tolerance_mm=tolerance_mm)["organ"]
    assert scores.hd95_mm == pytest.approx(np.percentile(apart_mm, 95), abs=VOXEL_MM / 2)
    least, most = (
        (apart_mm <= tolerance_mm + error_mm).mean() for error_mm in (-VOXEL_MM / 2, VOXEL_MM / 2)
    )
    assert least < scores.nsd < most


def test_a_region_is_scored_with_all_that_lies_inside_it():
    """Spheres r in R share r^3 of their volumes; of the shells around one core, r^3 - c^3."""
    core_mm, found_mm, true_mm = 9.0, 15.0, 20.0
    table = LabelTable.of({1: "whole without core", 2: "core", 3: "ignore"})
    prediction, truth = (
        label_map(ball(radius_mm).astype(int) + ball(core_mm), table)
        for radius_mm in (found_mm, true_mm)
    )
    regions = {"whole": {1, 2}, "core": {2}}
    scores = by_region(overlap, prediction, truth, regions)
    assert list(scores) == ["whole", "core"]
    volume = {r: 4 / 3 * math.pi * r**3 / 1000 for r in (core_mm, found_mm, true_mm)}
    dice = 2 * volume[found_mm] / (volume[found_mm] + volume[true_mm])
    assert scores["whole"].dice == pytest.approx(dice, abs=0.01)
    assert scores["whole"].volume_ml == pytest.approx(volume[found_mm], rel=0.02)
    assert scores["whole"].reference_volume_ml == pytest.approx(volume[true_mm], rel=0.02)
    assert scores["core"].dice == 1.0
    shell = [volume[r] - volume[core_mm] for r in (found_mm, true_mm)]
    parts = by_region(overlap, prediction, truth, {})
    assert parts["whole without core"].dice == pytest.approx(2 * shell[0] / sum(shell), abs=0.01)
    surface = by_region(surface_distances, prediction, truth, regions)
    assert surface["whole"].hd95_mm == pytest.approx(true_mm - found_mm, abs=VOXEL_MM / 2)
    assert surface["core"].hd95_mm == 0.0


def test_ignored_voxels_count_in_no_region():
    table = LabelTable.of({1: "whole without core", 2: "core", 3: "ignore"})
    true = np.where(ball(20.0), 1, 0)
    true[: SHAPE[0] // 2] = 3
    truth, prediction = label_map(true, table), label_map(ball(20.0), table)
    assert by_region(overlap, prediction, truth, {"whole": {1, 2}})["whole"].dice == 1.0


def test_regions_on_other_grids_are_refused():
    small = LabelMap(np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4)), ORGAN)
    with pytest.raises(GeometryError, match=r"\(4, 4, 4\)"):
        by_region(overlap, small, label_map(ball(9.0)), {"organ": {1}})
