"""How long labelling a scan will take, and how much memory, before it is begun."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.inference.blending import Blend
from medseg.inference.chain_run import one_tile
from medseg.inference.job import sliding_window_of
from medseg.inference.oom_fallback import fallbacks
from medseg.inference.options import DEFAULT_OPTIONS, Options
from medseg.inference.pointwise_head import CLASSES_AT_ONCE
from medseg.inference.roi import roi_on
from medseg.inference.sliding_window import padding
from medseg.inference.streaming_argmax import ROWS_AT_ONCE, ROWS_FINAL, sums_dtype
from medseg.inference.sweep import Sweep
from medseg.inference.tiling import Triple
from medseg.preprocessing.placement import Placement
from medseg.runtime.device import Device
from medseg.volume import Grid

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor

_FLOAT_BYTES = 4
_ENOUGH_S = 20.0
"""A first tile that took this long is not measured again; others are, without what only the first
one waits for."""
_LARGE_VOXELS = 32**3
_REFINED_COPIES = 4  # of all probabilities, while they are refined


@dataclass(frozen=True)
class Probe:
    """What one tile takes.

    Parameters
    ----------
    tile_s : float
        Seconds for one tile.
    peak_bytes : int
        Most memory that tensors of one tile take at the same time, beside the weights.
    weights_bytes : int
    previous : Probe or None
        Of the network before, in a cascade.
    inside : tuple of Probe
        Of each model, where several answer together.
    around : Probe or None
        Of the model that finds the structures around which alone the others look.
    """

    tile_s: float
    peak_bytes: int
    weights_bytes: int
    previous: Probe | None = None
    inside: tuple[Probe, ...] = ()
    around: Probe | None = None


@dataclass(frozen=True)
class Estimate:
    """What labelling one scan will take.

    Parameters
    ----------
    tiles : int
        How often the network runs.
    seconds : float
        Time for the tiles; reading, resampling and postprocessing come on top.
    device_bytes : int
        On the device: weights, one tile, sums of overlapping tiles, rows of the result.
    main_bytes : int
        In main memory besides: the scan as the network sees it, labels, probabilities to refine.
        All of it is main memory when the device is the CPU.
    """

    tiles: int
    seconds: float
    device_bytes: int
    main_bytes: int


def measure_tile(predictor: Predictor) -> Probe:
    """Time and memory of one tile of zeros on the predictor's device.

    A large tile is measured by an eighth of it, where the network takes one: the work and what it
    holds grow with the voxels.
    """
    tile = predictor.plan.patch
    weights = sum(p.numel() * p.element_size() for p in predictor.network.parameters())
    previous = None if predictor.previous is None else measure_tile(predictor.previous)
    half = tuple(n // 2 for n in tile)
    if prod(half) >= _LARGE_VOXELS and predictor.chain is None:
        with suppress(RuntimeError, ValueError):  # of a network of one size, or other strides
            seconds, peak_bytes = _measured(predictor, (half[0], half[1], half[2]))
            share = prod(tile) / prod(half)
            return Probe(seconds * share, round(peak_bytes * share), weights, previous)
    return Probe(*_measured(predictor, tile), weights, previous)


def _measured(predictor: Predictor, tile: Triple) -> tuple[float, int]:
    """Seconds, and bytes of tensors that live together."""
    chain, way = predictor.chain, next(fallbacks(predictor.device, tile))
    split = predictor.split if chain is None else None
    blend = Blend(Sweep(0), split, in_half=False)
    window = sliding_window_of(predictor, way, DEFAULT_OPTIONS, blend)
    image_CIJK = torch.zeros(predictor.plan.inputs, *tile)

    def work() -> torch.Tensor:
        if chain is not None:
            return one_tile(predictor, chain, tile)
        return window.logits(image_CIJK, (0, 0, 0))

    with LiveMemory() as memory:
        seconds = timed(work)
    if seconds < _ENOUGH_S:
        seconds = timed(work)
    return seconds, memory.peak_bytes


@torch.inference_mode()
def tile_bytes(predictor: Predictor) -> int | None:
    """What tensors of one tile take at most at the same time, without computing any.

    The network runs on shapes alone. None when it cannot.
    """
    network = predictor.network if predictor.split is None else predictor.split.trunk
    if not isinstance(network, nn.Module):
        return None
    shapes: dict[int, Any] = {
        id(each): nn.Parameter(each.to("meta"), requires_grad=False)
        for each in network.parameters()
    }
    shapes |= {id(each): each.to("meta") for each in network.buffers()}
    try:
        outline = copy.deepcopy(network, shapes)
        tile = torch.empty(1, predictor.plan.inputs, *predictor.plan.patch, device="meta")
        with LiveMemory() as memory:
            outline(tile.contiguous(memory_format=torch.channels_last_3d))
    except Exception:  # noqa: BLE001 - of a person's network, whatever it asks of values
        return None
    peak_bytes: int = memory.peak_bytes
    return peak_bytes // (1 if predictor.device.half is None else 2)


def estimate(predictor: Predictor, grid: Grid, options: Options, *, probe: Probe) -> Estimate:
    """What labelling a scan on `grid` will take."""
    placement = Placement.of(grid, predictor.plan)
    tiles = tiles_of(predictor, grid, options)
    open_bytes = open_bytes_of(predictor, placement, predictor.plan.patch)
    on_device = probe.weights_bytes + probe.peak_bytes + open_bytes
    main_bytes = main_bytes_of(predictor, placement, options)
    own = Estimate(tiles, tiles * probe.tile_s, on_device, main_bytes)
    if predictor.previous is None or probe.previous is None:
        return own
    before = estimate(predictor.previous, grid, DEFAULT_OPTIONS, probe=probe.previous)
    return Estimate(
        own.tiles + before.tiles,
        own.seconds + before.seconds,
        max(own.device_bytes, before.device_bytes) + probe.previous.weights_bytes,
        max(own.main_bytes, before.main_bytes),
    )


def tiles_of(predictor: Predictor, grid: Grid, options: Options) -> int:
    """How often the network runs for a scan on `grid`."""
    prepared = Placement.of(grid, predictor.plan).prepared
    default = next(fallbacks(_NO_DEVICE, predictor.plan.patch))
    window = sliding_window_of(predictor, default, options, Blend(Sweep(0), None, in_half=False))
    roi = options.roi and roi_on(prepared, options.roi, grid, margin=1)
    return len(window.starts(prepared.shape, roi))


def main_bytes_of(predictor: Predictor, placement: Placement, options: Options) -> int:
    """The scan as the network sees it, labels, maps and probabilities to refine."""
    extent = placement.prepared.shape
    _, padded = padding(extent, predictor.plan.patch)
    outputs = predictor.plan.outputs(predictor.labels)
    maps = options.uncertainty + bool(options.probability_of)
    image = predictor.plan.inputs * (prod(extent) + prod(padded)) * _FLOAT_BYTES
    # a byte a voxel for classes, their label values and those on the scan's axes; two for a map
    every = (outputs + 1) * options.probabilities  # each leaves the one array for the other
    main_bytes = image + (3 + 2 * maps + every) * prod(placement.native_shape)
    if predictor.chain is not None:  # MONAI's sums, weights and probabilities of the whole scan
        main_bytes += 3 * len(predictor.chain.outputs) * prod(extent) * _FLOAT_BYTES
    if predictor.postprocessing.on_probabilities:
        main_bytes += _REFINED_COPIES * outputs * prod(extent) * _FLOAT_BYTES
    return main_bytes


def open_bytes_of(predictor: Predictor, placement: Placement, tile: Triple) -> int:
    """Sums of overlapping tiles, and what the rows that become final pass through."""
    extent = placement.prepared.shape
    blend = Blend.of(predictor, extent, tile)
    sweep, split = blend.sweep, blend.split
    depth = sweep.turned(tile)[0]
    _, shape = padding(sweep.turned(extent), sweep.turned(tile))
    outputs = predictor.plan.outputs(predictor.labels)
    channels = outputs if split is None else split.head.weight_LF.shape[1]
    plane = shape[1] * shape[2]
    window = (channels * sums_dtype(channels, shape, depth).itemsize + _FLOAT_BYTES) * depth * plane
    together = channels if split is None else channels + CLASSES_AT_ONCE
    final = 2 * (ROWS_FINAL + 1) * together * plane * _FLOAT_BYTES
    rows, height, width = sweep.turned(placement.native_shape)
    return window + final + 4 * min(ROWS_AT_ONCE, rows) * height * width * _FLOAT_BYTES


_NO_DEVICE = Device(torch.device("cpu"), None, "")


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all results of operations that are alive at the same time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes: int = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())  # noqa: SLF001
        self._live = {key: entry for key, entry in self._live.items() if not entry[0].expired()}
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in self._live.values()))
        return result


def timed(work: Callable[[], torch.Tensor]) -> float:
    """Seconds until the result of `work` is there, on whatever device.

    Parameters
    ----------
    work : callable
        Gives a tensor.
    """
    start = time.perf_counter()
    result = work()
    result.flatten()[0].item()  # waits for a device that works on its own
    return time.perf_counter() - start
