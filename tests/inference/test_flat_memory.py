"""Whatever is put off, turned or reused: labels of the plain way, and memory that stays flat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from many_classes import CLASSES, FEATURES, NETWORK, network_of, predictor_of, scan_of
from medseg.inference import Options
from medseg.inference.estimate import LiveMemory
from medseg.inference.pointwise_head import split
from medseg.inference.streaming_argmax import RollingAccumulator
from medseg.inference.sweep import Sweep
from medseg.inference.tile_weights import gaussian
from medseg.inference.tiling import tile_starts
from medseg.inference.uniform_tiles import UniformTiles

SIZES = st.tuples(*[st.integers(5, 22)] * 3)


@torch.inference_mode()
def all_logits(one, scan):
    """Every logit of the scan at once: all tiles added up in double precision, then resampled."""
    from medseg.preprocessing import prepare_image

    image, placement = prepare_image(scan, one.plan, ())
    tile, extent = one.plan.patch, image.shape[1:]
    missing = [max(0, n - size) for n, size in zip(tile, extent, strict=True)]
    pads = [side for n in reversed(missing) for side in (n // 2, n - n // 2)]
    padded = nn.functional.pad(image, pads)
    shape = tuple(padded.shape[1:])
    weight = gaussian(tile, torch.device("cpu")).double()
    total, mass = torch.zeros(1, *shape, dtype=torch.float64), torch.zeros(shape)
    for start in tile_starts(shape, tile, one.plan.overlap):
        place = tuple(slice(s, s + n) for s, n in zip(start, tile, strict=True))
        part = torch.zeros(len(NETWORK.heads[-1].bias), *shape, dtype=torch.float64)
        part[(slice(None), *place)] = one.network(padded[(None, slice(None), *place)])[0] * weight
        total, mass = total + part, mass.double()
        mass[place] += weight
    inner = tuple(slice(n // 2, n // 2 + size) for n, size in zip(missing, extent, strict=True))
    logits = (total / mass)[(slice(None), *inner)][None]
    size = placement.native_shape
    return nn.functional.interpolate(logits, size=size, mode="trilinear")[0].numpy()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SIZES, st.floats(0, 0.6), st.sampled_from([0.7, 1.0, 1.6]), st.integers(0, 99))
def test_labels_are_those_of_all_logits_at_once(shape, overlap, spacing, seed):
    one, scan = predictor_of(spacing=spacing, overlap=overlap), scan_of(shape, seed)
    assert one.split is not None
    logits = all_logits(one, scan)
    top = np.sort(logits, axis=0)[-2:]
    clear = top[1] - top[0] > 1e-4
    assert np.array_equal(one.predict(scan).values[clear], logits.argmax(0)[clear])
    assert clear.mean() > 0.98


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SIZES, st.integers(0, 99))
def test_regions_are_the_signs_of_all_logits_at_once(shape, seed):
    one, scan = predictor_of(regions=True), scan_of(shape, seed)
    assert one.split is not None
    logits = all_logits(one, scan)
    clear = (np.abs(logits) > 1e-4).all(axis=0)
    last = logits.shape[0] - np.argmax(logits[::-1] > 0, axis=0)
    expected = np.where((logits > 0).any(axis=0), last, 0)
    assert np.array_equal(one.predict(scan).values[clear], expected[clear])
    assert clear.mean() > 0.95


@pytest.mark.parametrize("shape", [(30, 9, 12), (9, 30, 12), (9, 12, 30)])
def test_maps_and_boxes_do_not_depend_on_the_axis_of_the_sweep(shape, monkeypatch):
    scan, one = scan_of(shape), predictor_of()
    box = tuple(slice(2, n - 3) for n in shape)
    for options in (
        Options(uncertainty=True, probability_of="part 3", probabilities=True),
        Options(roi=box),
    ):
        found = one.run(scan, options)
        with monkeypatch.context() as patch:
            patch.setattr(Sweep, "of", classmethod(lambda cls, *_: cls(0)))
            wanted = one.run(scan, options)
        assert (found.labels.values == wanted.labels.values).mean() > 0.999
        for name in ("uncertainty", "probability", "probabilities"):
            ours, theirs = getattr(found, name), getattr(wanted, name)
            if ours is not None:
                assert np.abs(ours.voxels.astype(int) - theirs.voxels).max() <= 1


def test_the_sweep_goes_where_the_window_is_smallest():
    assert Sweep.of((256, 256, 900), (128, 128, 128)).axis == 2
    assert Sweep.of((256, 900, 200), (128, 128, 128)).axis == 1
    assert Sweep.of((256, 256, 256), (16, 128, 128)).axis == 0
    values = torch.arange(24).reshape(2, 3, 4)
    for axis in range(3):
        sweep = Sweep(axis)
        assert torch.equal(sweep.turn_back(sweep.turn(values)), values)
        assert tuple(sweep.turn(values).shape) == sweep.turned((2, 3, 4))
        assert np.array_equal(sweep.array_back(sweep.turn(values).numpy()), values.numpy())


def test_memory_is_flat_in_classes_and_slices(monkeypatch):
    monkeypatch.setattr("medseg.inference.label_blocks.BLOCK", 8)  # small beside a small scan

    def peak(classes, slices):
        one = predictor_of(network_of(classes), classes, patch=(16, 16, 16), overlap=0.0)
        scan = scan_of((32, 32, slices))
        with LiveMemory() as memory:
            one.run(scan)
        return memory.peak_bytes

    few, many, long = peak(25, 40), peak(117, 40), peak(25, 80)
    a_window_of_classes = (117 - 25) * 16 * 32 * 32 * 4
    assert many - few < a_window_of_classes / 4
    assert long - few < 12 * 40 * 32 * 32 * 4  # what holds the scan itself, of no class


def test_a_large_window_holds_half_precision_and_the_same_labels(monkeypatch):
    monkeypatch.setattr("medseg.inference.streaming_argmax._LARGE_BYTES", 100)
    plain = torch.nn.Sequential(NETWORK, nn.Softmax(1), nn.Threshold(0, 0))
    one, scan = predictor_of(plain), scan_of((20, 18, 9))
    assert one.split is None
    half = one.predict(scan).values
    monkeypatch.undo()
    assert (half == one.predict(scan).values).mean() > 0.99
    weight = gaussian((8, 16, 16), torch.device("cpu"))
    assert RollingAccumulator(3, (400, 16, 16), weight).sum_LIJK.dtype == torch.float32


@pytest.mark.parametrize(
    "tail",
    [nn.Softmax(1), nn.ReLU(), nn.InstanceNorm3d(CLASSES), nn.Conv3d(CLASSES, CLASSES, 3)],
    ids=["softmax", "relu", "norm", "convolution"],
)
def test_what_does_not_commute_with_the_last_layer_keeps_it(tail):
    assert split(nn.Sequential(NETWORK, tail).eval(), 1, (16, 16, 16)) is None


def test_only_a_layer_that_saves_memory_is_put_off():
    assert split(network_of(FEATURES), 1, (16, 16, 16)) is None
    assert split(lambda tile: tile, 1, (16, 16, 16)) is None
    found = split(NETWORK, 1, (16, 16, 16))
    image = torch.randn(1, 1, 8, 8, 8)
    assert found.trunk(image).shape == (1, FEATURES, 8, 8, 8)
    assert found.trunk.encoder[0][0][0].weight is NETWORK.encoder[0][0][0].weight
    logits = torch.stack(list(found.head.logits(found.trunk(image)[0])))
    torch.testing.assert_close(logits, NETWORK(image)[0], rtol=0, atol=1e-5)


class Closed(torch.nn.Module):
    """A network whose layers are not to be seen."""

    def __init__(self, network):
        super().__init__()
        self.answer = network.forward

    def forward(self, tiles):
        return self.answer(tiles)


def test_mirroring_keeps_the_split():
    from medseg.inference.tta import FlipTTA

    plain = predictor_of(FlipTTA(NETWORK, (0, 2)).eval())
    assert plain.split is not None
    scan = scan_of((14, 9, 11))
    whole = replace(plain, network=Closed(plain.network))
    assert whole.split is None
    assert (plain.predict(scan).values == whole.predict(scan).values).mean() > 0.999


def test_tiles_of_air_are_computed_once():
    image = torch.randn(1, 4, 4, 40)
    image[..., 10:30] = -1.0
    image[..., 15] += 1e-6  # as resampling leaves it
    seen = []

    def compute(whole, start):
        seen.append(start)
        return whole[:, :, :, start[2] : start[2] + 4] * 2

    logits_at = UniformTiles(image, (4, 4, 4), compute)
    for k in range(0, 37, 2):
        torch.testing.assert_close(logits_at((0, 0, k)), image[..., k : k + 4] * 2)
    assert logits_at.reused == 8
    assert [start[2] for start in seen] == [0, 2, 4, 6, 8, 10, *range(28, 37, 2)]
