"""A box, another overlap, maps of probability, memory that runs out: what may be asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from medseg.errors import GeometryError, InputError, LabelError, PlanError
from medseg.inference import Options, Predictor
from medseg.inference.oom_fallback import fallbacks, run_with_fallback
from medseg.inference.probability_maps import ProbabilityMaps
from medseg.inference.roi import roi_on, tiles_for
from medseg.inference.streaming_argmax import StreamingArgmax
from medseg.inference.tiling import tile_starts
from medseg.planning import Component, Normalisation, Plan
from medseg.postprocessing import build_postprocessing
from medseg.runtime.device import Device, choose_device
from medseg.volume import Grid, LabelTable, Scan
from strategies import grids

TABLE = LabelTable.of({3: "bright", 300: "brighter"})
SIZES = st.tuples(*[st.integers(4, 30)] * 3)


class Local(torch.nn.Module):
    """Says class 1 above 0.5 and class 2 above 1.5, by the voxel and its neighbours."""

    def forward(self, image):
        x = torch.nn.functional.avg_pool3d(image.float(), 3, stride=1, padding=1)
        return torch.cat((torch.zeros_like(x), x - 0.5, 2 * x - 2), dim=1)


class Sharp(Local):
    """As sure of itself as trained networks are."""

    def forward(self, image):
        return 20 * super().forward(image)


def predictor(patch=(8, 8, 8), network=None, **changes):
    plan = Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=patch,
        batch=1,
        network=Component(name="unet"),
        **changes,
    )
    return Predictor(network or Local(), plan, TABLE, choose_device("cpu"))


def scan_of(grid, seed=0):
    voxels = np.random.default_rng(seed).normal(0.8, 0.8, (1, *grid.shape))
    return Scan(voxels.astype(np.float32), grid)


def box_in(shape, seed):
    rng = np.random.default_rng(seed)
    starts = [int(rng.integers(0, n)) for n in shape]
    i, j, k = (slice(a, int(rng.integers(a, n)) + 1) for a, n in zip(starts, shape, strict=True))
    return i, j, k


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grids(largest=24), st.integers(0, 999))
def test_labels_in_a_box_are_those_of_the_whole_run_and_outside_is_background(grid, seed):
    scan, box = scan_of(grid, seed), box_in(grid.shape, seed)
    one = predictor()
    whole = one.predict(scan).values
    found = one.run(scan, Options(roi=box, uncertainty=True))
    same = found.labels.values[box] == whole[box]
    assert same.mean() > 0.97  # rims of tiles that hardly weigh there are left out
    outside = np.ones(grid.shape, bool)
    outside[box] = False
    assert not found.labels.values[outside].any()
    assert not found.uncertainty.voxels[0][outside].any()
    assert found.labels.grid is grid


@settings(deadline=None)
@given(SIZES, st.floats(0, 0.8), st.integers(2, 12), st.integers(0, 999))
def test_tiles_for_a_box_cover_it_and_are_fewer(shape, overlap, tile, seed):
    tiles = tuple(min(tile, n) for n in shape)
    box = box_in(shape, seed)
    every = tile_starts(shape, tiles, overlap)
    chosen = tiles_for(every, tiles, shape=shape, roi=box)
    assert [start for start in every if start in set(chosen)] == chosen
    seen = np.zeros(shape, bool)
    for start in chosen:
        seen[tuple(slice(s, s + n) for s, n in zip(start, tiles, strict=True))] = True
    assert seen[box].all()
    if len(every) > 30 and seen.sum() < 0.5 * seen.size:
        assert len(chosen) < len(every)


def test_a_small_box_takes_few_tiles():
    grid = Grid((64, 64, 64), np.eye(4))
    one = predictor(patch=(16, 16, 16))
    probe = one.probe()
    whole = one.estimate(grid, probe=probe)
    part = one.estimate(grid, Options(roi=(slice(30, 34),) * 3), probe=probe)
    assert whole.tiles == 343
    assert part.tiles <= 27
    assert part.seconds == pytest.approx(part.tiles * probe.tile_s)


@settings(deadline=None)
@given(grids(largest=12))
def test_a_box_survives_the_way_to_another_grid_and_back(grid):
    from medseg.volume.conventions import Reorientation

    turned = Reorientation.towards(grid, "IPL").target
    box = box_in(grid.shape, 1)
    assert roi_on(grid, roi_on(turned, box, grid), turned) == box


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.booleans(), st.integers(0, 99))
def test_maps_are_the_probabilities_of_interpolated_logits(shape, home, exclusive, seed):
    torch.manual_seed(seed)
    logits = 4 * torch.randn(3, *shape) + 50  # far from 0, as large logits are
    logits = logits if exclusive else logits - 50
    maps = ProbabilityMaps(home, exclusive=exclusive, uncertainty=True, channel=1, every=3)
    stream = StreamingArgmax(shape, home, regions=() if exclusive else (1, 2, 3), maps=maps)
    plain = StreamingArgmax(shape, home, regions=() if exclusive else (1, 2, 3))
    for row in range(shape[0]):
        stream.feed(logits[:, row : row + 1])
        plain.feed(logits[:, row : row + 1])
    assert np.array_equal(stream.classes, plain.classes)
    grown = torch.nn.functional.interpolate(logits[None], size=home, mode="trilinear")[0]
    if exclusive:
        shares = grown.softmax(dim=0)
        doubt = 1 - shares.amax(dim=0)
    else:
        shares = grown.sigmoid()
        doubt = torch.minimum(shares, 1 - shares).amax(dim=0)
    assert np.abs(maps.uncertainty - 100 * doubt.numpy()).max() < 0.51
    assert np.abs(maps.probability - 100 * shares[1].numpy()).max() < 0.51
    assert np.abs(np.stack(maps.every) - 255 * shares.numpy()).max() < 0.52


def test_maps_come_home_to_the_scans_grid():
    affine = np.array([[0, -1.0, 0, 9], [0, 0, 1.0, -4], [-1.0, 0, 0, 3], [0, 0, 0, 1]])
    index = np.moveaxis(np.indices((13, 9, 17)), 0, -1)
    hill = -np.linalg.norm(index - [8, 4, 10], axis=-1).astype(np.float32)
    scan = Scan(hill[None], Grid(hill.shape, affine))
    options = Options(uncertainty=True, probability_of="brighter")
    found = predictor(network=Sharp()).run(scan, options)
    assert found.probability.grid is scan.grid
    likely = found.probability.voxels[0] > 60
    assert likely.any()
    assert (found.labels.values[likely] == 300).all()
    sure = found.uncertainty.voxels[0] < 20
    most = found.probability.voxels[0]
    assert ((most[sure] <= 20) | (most[sure] >= 80)).all()


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_probabilities_of_every_class_come_home(tilt):
    affine = np.array([[0, -1.0, 0, 9], [0, tilt, 1.0, -4], [-1.0, 0, 0, 3], [0, 0, 0, 1]])
    index = np.moveaxis(np.indices((13, 9, 17)), 0, -1)
    hill = 3 - np.linalg.norm(index - [8, 4, 10], axis=-1).astype(np.float32)
    scan = Scan(hill[None], Grid(hill.shape, affine))
    found = predictor(network=Sharp()).run(scan, Options(probabilities=True))
    shares = found.probabilities
    assert shares.grid is scan.grid
    assert shares.voxels.dtype == np.uint8
    assert shares.channel_names == ("background", "bright", "brighter")
    assert np.abs(shares.voxels.sum(axis=0, dtype=int) - 255).max() <= 2
    values = np.array([0, 3, 300])[shares.voxels.argmax(axis=0)]
    clear = shares.voxels.max(axis=0) > 150
    assert clear.mean() > 0.9
    assert (values[clear] == found.labels.values[clear]).mean() > 0.99
    assert found.probability is None


def test_probabilities_outside_of_the_box_are_background():
    scan = scan_of(Grid((12, 12, 12), np.eye(4)))
    box = (slice(2, 6), slice(3, 9), slice(0, 5))
    shares = predictor().run(scan, Options(roi=box, probabilities=True)).probabilities.voxels
    inside = np.zeros((12, 12, 12), bool)
    inside[box] = True
    assert (shares[0][~inside] == 255).all()
    assert (shares[1:, ~inside] == 0).all()
    whole = predictor().run(scan, Options(probabilities=True)).probabilities.voxels
    assert np.abs(whole[:, inside].astype(int) - shares[:, inside]).max() <= 1


def test_probabilities_of_regions_are_each_their_own():
    regions = dataclasses.replace(
        predictor(network=_Two()),
        plan=structs.replace(predictor().plan, regions=((2, 1), (1,))),
    )
    scan = scan_of(Grid((9, 9, 9), np.eye(4)))
    shares = regions.run(scan, Options(probabilities=True)).probabilities
    assert shares.channel_names == ("brighter", "bright")
    assert (shares.voxels[0] >= shares.voxels[1]).all()
    assert ((shares.voxels[1] > 128) <= (regions.predict(scan).values == 3)).all()


class _Two(Local):
    """Regions in place of classes: above 0.5, and within it above 1."""

    def forward(self, image):
        bright = super().forward(image)[:, 1:2]
        return torch.cat((bright, bright - 0.5), dim=1)


def test_what_does_not_fit_is_refused():
    scan = scan_of(Grid((9, 9, 9), np.eye(4)))
    with pytest.raises(GeometryError, match="from 5 to 10 along J, where the scan has 9"):
        predictor().run(scan, Options(roi=(slice(0, 2), slice(5, 10), slice(0, 1))))
    with pytest.raises(InputError, match=r"got 1\.0"):
        predictor().run(scan, Options(overlap=1.0))
    with pytest.raises(LabelError, match="it gives: bright, brighter"):
        predictor().run(scan, Options(probability_of="liver"))
    regions = structs.replace(predictor().plan, regions=((1, 2), (2,)))
    with pytest.raises(PlanError, match="components or holes"):
        dataclasses.replace(predictor(), plan=regions).run(
            scan, Options(postprocessing=(Component(name="crf"),))
        )


def test_steps_on_labels_see_the_box_only():
    values = np.zeros((12, 12, 12), np.float32)
    values[1:7, 1:7, 1:7] = 40  # the larger piece, outside of the box
    values[8:11, 8:11, 8:11] = 40
    scan = Scan(values[None], Grid(values.shape, np.eye(4)))
    one = dataclasses.replace(
        predictor(), postprocessing=build_postprocessing((Component(name="components"),))
    )
    box = (slice(7, 12),) * 3
    assert not one.predict(scan).values[box].any()
    assert one.run(scan, Options(roi=box)).labels.values[9, 9, 9] == 300
    assert one.run(scan, Options(postprocessing=())).labels.values[9, 9, 9] == 300


class Hungry(Local):
    """Runs out of memory as long as it is on a tile larger than it can bear."""

    def __init__(self, most):
        super().__init__()
        self.most = most
        self.tiles = []

    def forward(self, image):
        self.tiles.append(tuple(image.shape[2:]))
        if max(image.shape[2:]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(image)


def test_less_memory_gives_smaller_tiles_the_same_labels_and_a_note():
    scan = scan_of(Grid((70, 66, 40), np.eye(4)))
    usual = predictor(patch=(64, 64, 40)).predict(scan)
    hungry = Hungry(most=40)
    steps = []
    found = predictor(patch=(64, 64, 40), network=hungry).predict(
        scan, progress=lambda *step: steps.append(step)
    )
    assert set(hungry.tiles) == {(64, 64, 40), (32, 32, 32)}
    (note,) = found.provenance.notes
    assert note.startswith("memory ran out while segmenting: tiles were made smaller (32 x 32 x 32")
    assert "memory ran out" in steps[-1][2]
    assert usual.provenance.notes == ()
    assert (found.values == usual.values).mean() > 0.99


def test_when_nothing_fits_the_error_is_the_devices():
    scan = scan_of(Grid((9, 9, 9), np.eye(4)))
    with pytest.raises(torch.OutOfMemoryError):
        predictor(network=Hungry(most=1)).predict(scan)


@pytest.mark.slow
def test_a_gpu_sums_elsewhere_then_takes_smaller_tiles_then_the_cpu():
    gpu = Device(torch.device("cuda"), torch.float16, "a GPU")
    ways = list(fallbacks(gpu, (128, 96, 24)))
    assert [way.device.torch_device.type for way in ways] == ["cuda", "cuda", "cuda", "cpu"]
    assert [way.sums_on.type for way in ways] == ["cuda", "cpu", "cpu", "cpu"]
    assert [way.tile for way in ways] == [
        (128, 96, 24),
        (128, 96, 24),
        (64, 48, 24),
        (128, 96, 24),
    ]
    assert not ways[0].message
    tried = []

    def work(way):
        tried.append(way)
        if len(tried) < 4:
            raise RuntimeError("CUDA error: out of memory")
        return 7

    result, notes = run_with_fallback(iter(ways), work)
    assert (result, len(notes), tried) == (7, 1, ways)
    assert "CPU" in notes[0]


def test_another_error_is_not_tried_again():
    tried = []

    def work(way):
        tried.append(way)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_with_fallback(fallbacks(choose_device("cpu"), (64, 64, 64)), work)
    assert len(tried) == 1


def test_the_network_is_put_back_where_it_was():
    moves = []

    class Moving(Local):
        def to(self, device):
            moves.append(torch.device(device).type)
            return self

    gpu = Device(torch.device("meta"), None, "stands for a GPU")
    one = dataclasses.replace(predictor(network=Moving()), device=gpu)
    way = list(fallbacks(gpu, (8, 8, 8)))[-1]
    one._run_on(Labels(), way)
    assert moves == ["cpu", "meta"]


class Labels:
    def predict(self, attempt):
        assert attempt.device.torch_device.type == "cpu"


def test_a_forecast_counts_tiles_and_memory():
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(16, 3, 1)
    )
    one = predictor(patch=(16, 16, 16), network=network)
    probe = one.probe()
    voxels = 16**3
    number = 2 if one.device.half else 4
    assert 32 * voxels * number <= probe.peak_bytes <= 42 * voxels * number
    assert probe.weights_bytes == 4 * sum(p.numel() for p in network.parameters())
    assert probe.tile_s > 0
    small = one.estimate(Grid((16, 16, 16), np.eye(4)), probe=probe)
    large = one.estimate(Grid((16, 16, 64), np.eye(4)), probe=probe)
    assert (small.tiles, large.tiles) == (1, 7)
    assert large.device_bytes == small.device_bytes > probe.peak_bytes  # the window's length
    wide = one.estimate(Grid((16, 64, 64), np.eye(4)), probe=probe)
    assert wide.device_bytes > large.device_bytes
    assert large.main_bytes > small.main_bytes
    refined = Options(postprocessing=(Component(name="crf"),))
    assert one.estimate(Grid((16, 16, 64), np.eye(4)), refined, probe=probe).main_bytes > (
        large.main_bytes
    )
