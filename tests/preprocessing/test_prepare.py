import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.planning import Component, Normalisation, Plan
from medseg.preprocessing import Placement, prepare_image, prepare_labels
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from strategies import grids


def plan(spacing, rule=None):
    return Plan(
        spacing_mm=spacing,
        channels=("MR",),
        normalisation=(rule or Normalisation(scheme="none"),),
        patch=(8, 8, 8),
        batch=1,
        network=Component(name="unet"),
    )


SPACINGS = st.tuples(*[st.floats(0.5, 5)] * 3)


@settings(max_examples=60, deadline=None)
@given(grids(largest=12), SPACINGS)
def test_image_and_labels_lie_on_the_grid_of_the_placement(grid, spacing):
    scan = Scan(np.ones((1, *grid.shape), np.float32), grid)
    image, placement = prepare_image(scan, plan(spacing))
    assert tuple(image.shape[1:]) == placement.prepared.shape
    truth = LabelMap(np.ones(grid.shape, np.uint8), grid, LabelTable.of({1: "a"}))
    assert prepare_labels(truth, plan(spacing)).shape == placement.prepared.shape


@settings(max_examples=60, deadline=None)
@given(grids(largest=12), SPACINGS)
def test_the_prepared_grid_covers_the_scans_box(grid, spacing):
    prepared = Placement.of(grid, plan(spacing)).prepared
    edges = np.array([[-0.5] * 3, [n - 0.5 for n in prepared.shape]])
    seen = np.sort(grid.to_index(prepared.to_world(edges)), axis=0)
    assert np.allclose(seen[0], -0.5, atol=1e-6)
    assert np.allclose(seen[1], np.array(grid.shape) - 0.5, atol=1e-6)


@given(grids(largest=9))
def test_the_placement_undoes_the_turn(grid):
    placement = Placement.of(grid, plan((1.0, 1.0, 1.0)))
    values = np.random.default_rng(0).integers(0, 200, grid.shape)
    assert np.array_equal(placement.to_native(placement.reorientation.apply(values)), values)


def test_normalisation_by_the_scan_and_by_the_dataset():
    voxels = np.random.default_rng(0).normal(300, 50, (1, 6, 6, 6)).astype(np.float32)
    scan = Scan(voxels, Grid((6, 6, 6), np.eye(4)))
    own, _ = prepare_image(scan, plan((1.0, 1.0, 1.0), Normalisation(scheme="zscore")))
    assert abs(float(own.mean())) < 1e-5
    assert float(own.std(correction=0)) == pytest.approx(1, abs=1e-3)
    whole, _ = prepare_image(scan, plan((1.0, 1.0, 1.0), Normalisation(scheme="rescale")))
    assert (float(whole.min()), float(whole.max())) == pytest.approx((0, 1), abs=1e-6)
    rule = Normalisation(scheme="clip_zscore", low=280, high=320, mean=300, std=10)
    clipped, _ = prepare_image(scan, plan((1.0, 1.0, 1.0), rule))
    assert float(clipped.min()) == pytest.approx(-2)
    assert float(clipped.max()) == pytest.approx(2)


@pytest.mark.parametrize("kind", ["int16", "uint16", "uint8", "float64", ">i2", "bool"])
def test_every_voxel_type_is_taken(kind):
    voxels = np.arange(27).reshape(1, 3, 3, 3).astype(kind)
    image, _ = prepare_image(Scan(voxels, Grid((3, 3, 3), np.eye(4))), plan((1.0, 1.0, 1.0)))
    assert torch.equal(image, torch.from_numpy(voxels.astype(np.float32)))
