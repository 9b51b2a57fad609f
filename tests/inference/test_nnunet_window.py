"""Tiles, their weights and the way back are nnU-Net's where a plan says so."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from scipy import ndimage

from medseg.errors import PlanError
from medseg.inference import Predictor
from medseg.inference.label_blocks import Interpolation
from medseg.inference.streaming_argmax import RollingAccumulator, StreamingArgmax
from medseg.inference.tile_weights import nnunet_gaussian
from medseg.inference.tiling import axis_starts, tile_starts
from medseg.planning import Component, Normalisation, Plan, Resampling
from medseg.runtime.device import choose_device
from medseg.volume import Grid, LabelTable, Scan
from medseg.volume.resampling import nearest_voxels

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(scheme="none"),),
    orientation="KJI",
    crop="nonzero",
    normalise_first=True,
    resampling=Resampling(),
    blending="nnunet",
    patch=(4, 4, 4),
    batch=1,
    network=Component(name="unet"),
)
TABLE = LabelTable.of({1: "low", 2: "high"})


@given(st.integers(1, 64), st.integers(0, 300))
def test_steps_are_nnunets(tile, more):
    size = tile + more
    count = int(np.ceil((size - tile) / (tile * 0.5))) + 1
    step = (size - tile) / (count - 1) if count > 1 else 0.0
    if tile > 1:
        expected = [int(np.round(step * n)) for n in range(count)]
        assert axis_starts(size, tile, 0.5) == expected


@pytest.mark.parametrize("tile", [(16, 20, 7), (1, 12, 16), (32, 32, 32)])
def test_weights_are_a_filtered_voxel_in_half_precision(tile):
    voxel = np.zeros(tile)
    voxel[tuple(n // 2 for n in tile)] = 1
    blurred = ndimage.gaussian_filter(voxel, [n / 8 for n in tile], mode="constant")
    halved = (10 * blurred / blurred.max()).astype(np.float16)
    halved[halved == 0] = halved[halved > 0].min()
    ours = nnunet_gaussian(tile, torch.device("cpu")).numpy()
    assert ours.dtype == np.float16
    assert np.allclose(ours.astype(float), halved.astype(float), rtol=2e-3)


def test_tiles_are_added_up_in_half_precision_as_nnunet_does():
    tile, shape = (4, 6, 5), (8, 9, 5)
    weight = nnunet_gaussian(tile, torch.device("cpu"))
    starts = tile_starts(shape, tile, 0.5)
    tiles = torch.randn(len(starts), 3, *tile, generator=torch.Generator().manual_seed(0))
    theirs, counts = torch.zeros(3, *shape).half(), torch.zeros(shape).half()
    window, rows = RollingAccumulator(3, shape, weight), []
    for logits, (i, j, k) in zip(tiles, starts, strict=True):
        region = slice(i, i + 4), slice(j, j + 6), slice(k, k + 5)
        theirs[(slice(None), *region)] += logits * weight
        counts[region] += weight
        rows += window.advance(i)
        window.add(logits, (i, j, k))
    rows += window.advance(8)
    assert torch.equal(torch.cat(rows, 1), (theirs / counts).float())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_across_thick_slices_the_nearest_row_is_taken(axis):
    shape, home = (5, 6, 4), tuple(9 if n == axis else m for n, m in enumerate((5, 6, 4)))
    logits = torch.randn(3, *shape)
    rows = nearest_voxels(shape[axis], 9)
    nearest = tuple(rows if n == axis else None for n in range(3))
    stream = StreamingArgmax(shape, home, interpolation=Interpolation(nearest))
    for start in range(0, 5, 2):
        stream.feed(logits[:, start : start + 2])
    assert np.array_equal(stream.classes, logits.argmax(0).numpy().take(rows, axis))


class Bright(torch.nn.Module):
    """Class 1 above 0.5 and class 2 above 1.5."""

    def forward(self, image):
        x = image[:, :1]
        return torch.cat((torch.zeros_like(x), x - 0.5, 2 * x - 2), dim=1)


class Doubtful(torch.nn.Module):
    """What the network before said, one class higher."""

    def forward(self, image):
        low, high = image[:, 1:2], image[:, 2:]
        return torch.cat((0.5 - low - high, 0 * low, low + high), dim=1)


def predictor(network, plan=PLAN, **more):
    return Predictor(network.eval(), plan, TABLE, choose_device("cpu"), **more)


def test_the_network_before_tells_the_next_where_its_labels_are():
    grid = Grid((9, 8, 10), np.diag([1.0, 1.5, 0.8, 1.0]))
    voxels = np.zeros((1, *grid.shape), np.float32)
    voxels[0, 2:8, 2:7, 2:9] = 0.1
    voxels[0, 4:6, 3:5, 3:6], voxels[0, 4:6, 3:5, 6:8] = 1.0, 2.0
    at_home = structs.replace(PLAN, spacing_mm=(0.8, 1.5, 1.0))
    first = predictor(Bright(), at_home)
    scan = Scan(voxels, grid)
    assert np.array_equal(first.predict(scan).values, np.digitize(voxels[0], (0.5, 1.5)))
    cascade = predictor(Doubtful(), structs.replace(at_home, previous_labels=2), previous=first)
    assert np.array_equal(cascade.predict(scan).values, 2 * (voxels[0] > 0.5))
    measured = cascade.estimate(grid, probe=cascade.probe())
    assert measured.tiles == 2 * first.estimate(grid, probe=first.probe()).tiles


def test_a_cascade_without_its_first_network_is_refused():
    with pytest.raises(PlanError, match="takes 2 labels of one before and was given 0") as refused:
        predictor(Doubtful(), structs.replace(PLAN, previous_labels=2))
    assert refused.value.code == "PREVIOUS"
