import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from msgspec import structs

from medseg.errors import Cancelled, InputError, PlanError
from medseg.inference import Predictor
from medseg.planning import Component, Normalisation, Plan
from medseg.postprocessing import build_postprocessing
from medseg.runtime.device import choose_device
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from strategies import grids

TABLE = LabelTable.of({3: "bright", 300: "brighter"})


class Threshold(torch.nn.Module):
    """Says class 1 above 0.5 and class 2 above 1.5: no training, no doubt."""

    def forward(self, image):
        x = image.float()
        return torch.cat((torch.zeros_like(x), x - 0.5, 2 * x - 2), dim=1)


class Nested(torch.nn.Module):
    """Two regions: what is above 0.5, and in it what is above 1.5."""

    def forward(self, image):
        x = image.float()
        return torch.cat((x - 0.5, x - 1.5), dim=1)


def predictor(patch=(8, 8, 8), spacing=(1.0, 1.0, 1.0)):
    plan = Plan(
        spacing_mm=spacing,
        channels=("MR",),
        normalisation=(Normalisation(scheme="none"),),
        patch=patch,
        batch=1,
        network=Component(name="unet"),
    )
    return Predictor(Threshold(), plan, TABLE, choose_device("cpu"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grids(largest=20))
def test_labels_come_home_for_any_grid(grid):
    truth = np.random.default_rng(0).integers(0, 3, grid.shape)
    scan = Scan(truth[None].astype(np.float32), grid)
    found = predictor(spacing=tuple(np.asarray(grid.spacing_mm)[_axes(grid)])).predict(scan)
    assert found.grid is grid
    assert np.array_equal(found.values, np.array([0, 3, 300])[truth])


def _axes(grid):
    from medseg.volume.conventions import Reorientation

    return list(Reorientation.towards(grid, "RAS").order)


def test_a_ball_keeps_its_place_and_volume_through_resampling():
    grid = Grid(
        (40, 44, 26), np.array([[0, -1.1, 0, 9], [1.3, 0, 0, -4], [0, 0, 2.1, 3], [0, 0, 0, 1]])
    )
    centre = grid.to_world((20, 22, 13))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid.to_world(index) - centre, axis=-1)
    image = np.clip(16 - distance, -1, 1).astype(np.float32)
    found = predictor(patch=(24, 24, 24), spacing=(1.5, 1.5, 1.5)).predict(Scan(image[None], grid))
    mask = found.values == 3
    assert np.linalg.norm(grid.to_world(np.argwhere(mask)).mean(0) - centre) < 0.1
    volume = mask.sum() * grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 15.5**3, rel=0.03)


def test_regions_are_written_with_the_values_of_their_labels():
    plan = structs.replace(predictor().plan, regions=((2, 1), (1,)))
    table = LabelTable.of({3: "core", 300: "whole without core"})
    image = np.zeros((9, 9, 9), np.float32)
    image[2:7, 2:7, 2:7] = 1
    image[4, 4, 4] = 2
    network = Nested()
    found = Predictor(network, plan, table, choose_device("cpu")).predict(
        Scan(image[None], Grid(image.shape, np.eye(4)))
    )
    assert np.array_equal(found.values, np.array([0, 300, 3])[image.astype(int)])


def test_as_many_labels_as_regions():
    plan = structs.replace(predictor().plan, regions=((1,),))
    with pytest.raises(PlanError, match="1 regions and there are 2 labels"):
        Predictor(Nested(), plan, TABLE, choose_device("cpu"))


def test_probabilities_of_regions_are_not_refined():
    plan = structs.replace(predictor().plan, regions=((1, 2), (2,)))
    steps = build_postprocessing((Component(name="crf"),))
    with pytest.raises(PlanError, match="components or holes"):
        Predictor(Nested(), plan, TABLE, choose_device("cpu"), steps)


def test_cancel_stops_within_a_tile():
    seen = []

    def progress(done, total, message):
        seen.append((done, total))
        if done == 2:
            raise Cancelled("stop")

    scan = Scan(
        np.eye(30, dtype=np.float32).repeat(30).reshape(1, 30, 30, 30), Grid((30,) * 3, np.eye(4))
    )
    with pytest.raises(Cancelled):
        predictor().predict(scan, progress=progress)
    assert seen[-1][0] == 2
    assert seen[-1][1] > 100


def test_wrong_channels_are_refused():
    grid = Grid((9, 9, 9), np.eye(4))
    with pytest.raises(InputError, match="2 channel"):
        predictor().predict(Scan(np.zeros((2, 9, 9, 9)), grid))


@pytest.mark.parametrize("tilt_degrees", [-18.5, 16.5, 30.0])
def test_a_ball_in_a_tilted_scan_keeps_its_place_and_volume(tilt_degrees):
    affine = np.diag([0.9, 1.1, 2.5, 1.0])
    affine[1, 2] = 2.5 * np.tan(np.radians(tilt_degrees))
    grid = Grid((50, 44, 20), affine)
    centre = grid.to_world((25, 21, 10))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid.to_world(index) - centre, axis=-1)
    image = np.clip(16 - distance, -1, 1).astype(np.float32)
    found = predictor(patch=(24, 24, 24), spacing=(1.0, 1.0, 2.5)).predict(Scan(image[None], grid))
    mask = found.values == 3
    assert found.grid is grid
    assert np.linalg.norm(grid.to_world(np.argwhere(mask)).mean(0) - centre) < 0.1
    volume = mask.sum() * grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 15.5**3, rel=0.01)


def test_not_a_number_is_refused():
    voxels = np.zeros((1, 9, 9, 9), np.float32)
    voxels[0, 4, 4, 4] = np.nan
    with pytest.raises(InputError, match="NaN"):
        predictor().predict(Scan(voxels, Grid((9, 9, 9), np.eye(4))))


def test_a_label_map_is_what_comes_out():
    scan = Scan(
        np.arange(125, dtype=np.int16).reshape(1, 5, 5, 5), Grid((5, 5, 5), np.eye(4)), "MR"
    )
    found = predictor().predict(scan)
    assert isinstance(found, LabelMap)
    assert found.table is TABLE
