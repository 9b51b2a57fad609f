"""How long labelling a scan will take, and how much memory, before it is begun."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
    """

    tile_s: float
    peak_bytes: int
    weights_bytes: int


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
    """Time and memory of one tile of zeros on the predictor's device."""
    tile, device = predictor.plan.patch, predictor.device
    way = next(fallbacks(device, tile))
    window, _ = sliding_window_of(predictor, way, DEFAULT_OPTIONS, Sweep(0))
    image_CIJK = torch.zeros(len(predictor.plan.channels), *tile)
    with LiveMemory() as memory:
        seconds = timed(lambda: window.logits(image_CIJK, (0, 0, 0)))
    if seconds < _ENOUGH_S:
        seconds = timed(lambda: window.logits(image_CIJK, (0, 0, 0)))
    weights = sum(p.numel() * p.element_size() for p in predictor.network.parameters())
    return Probe(seconds, memory.peak_bytes, weights)


def estimate(predictor: Predictor, grid: Grid, options: Options, *, probe: Probe) -> Estimate:
    """What labelling a scan on `grid` will take."""
    placement = Placement.of(grid, predictor.plan)
    extent, tile = placement.prepared.shape, predictor.plan.patch
    default = next(fallbacks(_NO_DEVICE, tile))
    roi = None
    if options.roi is not None:
        roi = roi_on(placement.prepared, options.roi, grid, margin=1)
    tiles = len(sliding_window_of(predictor, default, options, Sweep(0))[0].starts(extent, roi))
    _, padded = padding(extent, tile)
    outputs = predictor.plan.outputs(predictor.labels)
    native_shape = placement.native_shape
    maps = options.uncertainty + bool(options.probability_of)
    image = len(predictor.plan.channels) * (prod(extent) + prod(padded)) * _FLOAT_BYTES
    # a byte a voxel for classes, their label values and those on the scan's axes; two for a map
    every = (outputs + 1) * options.probabilities  # each leaves the one array for the other
    main_bytes = image + (3 + 2 * maps + every) * prod(native_shape)
    if predictor.postprocessing.on_probabilities:
        main_bytes += _REFINED_COPIES * outputs * prod(extent) * _FLOAT_BYTES
    open_bytes = _open_bytes(predictor, extent, native_shape)
    on_device = probe.weights_bytes + probe.peak_bytes + open_bytes
    return Estimate(tiles, tiles * probe.tile_s, on_device, main_bytes)


def _open_bytes(predictor: Predictor, extent: Triple, native_shape: Triple) -> int:
    """Sums of overlapping tiles, and what the rows that become final pass through."""
    tile, whole = predictor.plan.patch, predictor.postprocessing.on_probabilities
    sweep = Sweep(0) if whole else Sweep.of(extent, tile)
    depth = sweep.turned(tile)[0]
    _, shape = padding(sweep.turned(extent), sweep.turned(tile))
    outputs = predictor.plan.outputs(predictor.labels)
    split = None if whole else predictor.split
    channels = outputs if split is None else split.head.weight_LF.shape[1]
    plane = shape[1] * shape[2]
    window = (channels * sums_dtype(channels, shape, depth).itemsize + _FLOAT_BYTES) * depth * plane
    together = channels if split is None else channels + CLASSES_AT_ONCE
    final = 2 * (ROWS_FINAL + 1) * together * plane * _FLOAT_BYTES
    rows, height, width = sweep.turned(native_shape)
    return window + final + 4 * min(ROWS_AT_ONCE, rows) * height * width * _FLOAT_BYTES


_NO_DEVICE = Device(torch.device("cpu"), None, "")


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all results of operations that are alive at the same time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
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
