"""Looking at a box only: which tiles matter there."""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from medseg.inference.options import Roi
from medseg.inference.tiling import Triple
from medseg.volume import Grid
from medseg.volume.grid import CORNERS

Indices = npt.NDArray[np.int_]
_RIM = 1 / 8
"""Share of a tile at its rim where it weighs next to nothing beside its neighbours."""


def roi_on(target: Grid, roi: Roi, source: Grid, *, margin: int = 0) -> Roi:
    """The smallest box of `target` that holds a box of `source`.

    Parameters
    ----------
    target : Grid
        Where the box is wanted; it overlaps `source`.
    roi : tuple of slice
        Voxels of `source`, edge to edge.
    source : Grid
        The grid the box is on.
    margin : int, default 0
        Voxels of `target` to add on each side, as far as there are some.

    Returns
    -------
    tuple of slice
        At least one voxel along each axis.
    """
    low, high = _extent(target, roi, source)
    size = np.asarray(target.shape)
    low = np.clip(low - margin, 0, size - 1)
    high = np.clip(high + margin, low + 1, size)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return i, j, k


def is_apart(target: Grid, roi: Roi, source: Grid) -> bool:
    """Whether no voxel of `target` lies in the box that `roi_on` would give without clipping."""
    low, high = _extent(target, roi, source)
    return bool((high <= 0).any() or (low >= target.shape).any())


def grown(roi: Roi, grid: Grid, margin_mm: float) -> Roi:
    """A box with so much more on each side, as far as the grid reaches."""
    i, j, k = (
        slice(max(span.start - ceil(margin_mm / mm), 0), min(span.stop + ceil(margin_mm / mm), n))
        for span, mm, n in zip(roi, grid.spacing_mm, grid.shape, strict=True)
    )
    return i, j, k


def _extent(target: Grid, roi: Roi, source: Grid) -> tuple[Indices, Indices]:
    """First voxel of a box, and the one after its last, on a grid that may not reach so far."""
    edges = np.array([(span.start - 0.5, span.stop - 0.5) for span in roi])
    corners = target.to_index(source.to_world(edges[np.arange(3), CORNERS]))
    low = np.floor(corners.min(axis=0) + 0.5 + 1e-6).astype(int)
    high = np.ceil(corners.max(axis=0) + 0.5 - 1e-6).astype(int)
    return low, high


def tiles_for(starts: list[Triple], tile: Triple, *, shape: Triple, roi: Roi) -> list[Triple]:
    """The tiles that decide what is in a box.

    Parameters
    ----------
    starts : list of tuple of int
        First voxel of every tile of the volume.
    tile : tuple of int
        Voxels of a tile.
    shape : tuple of int
        Voxels of the volume.
    roi : tuple of slice
        Voxels of the volume.

    Returns
    -------
    list of tuple of int
        In the same order. Left out are tiles that miss the box, or reach it only with a rim that
        weighs less than a fiftieth there; every voxel of the box stays covered.
    """
    axes = [
        _needed_starts(sorted({start[axis] for start in starts}), tile[axis], shape[axis], span)
        for axis, span in enumerate(roi)
    ]
    return [
        start
        for start in starts
        if all(first in needed for first, needed in zip(start, axes, strict=True))
    ]


def outside(roi: Roi, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which voxels lie outside a box; shape `shape`."""
    mask = np.ones(shape, np.bool_)
    mask[roi] = False
    return mask


def _needed_starts(firsts: list[int], tile: int, size: int, span: slice) -> set[int]:
    """First voxels, along one axis, of the tiles whose core meets the cut."""
    needed = set()
    for position, first in enumerate(firsts):
        before = firsts[position - 1] + tile - first if position else 0
        after = first + tile - firsts[position + 1] if position + 1 < len(firsts) else 0
        rim = int(tile * _RIM)
        low = first + min(rim, before // 2)
        high = first + tile - min(rim, after // 2)
        if low < span.stop and span.start < min(high, size):
            needed.add(first)
    return needed
