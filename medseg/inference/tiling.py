"""Where the network looks: tiles that cover a volume with an even overlap."""

from __future__ import annotations

import itertools
import math

Triple = tuple[int, int, int]


def axis_starts(size: int, tile: int, overlap: float) -> list[int]:
    """First voxel of each tile along one axis.

    Parameters
    ----------
    size : int
        Voxels along the axis; at least `tile`.
    tile : int
        Voxels of a tile.
    overlap : float
        Smallest share of a tile that neighbours have in common, 0 to 1.

    Returns
    -------
    list of int
        Ascending, evenly spread; the last tile ends at the border.
    """
    if size <= tile:
        return [0]
    steps = math.ceil((size - tile) / max(tile * (1 - overlap), 1))
    return [round((size - tile) / steps * step) for step in range(steps + 1)]


def tile_starts(shape: Triple, tile: Triple, overlap: float) -> list[Triple]:
    """First voxel of each tile of a volume, ascending along the first axis.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume; no axis smaller than the tile's.
    tile : tuple of int
        Voxels of a tile.
    overlap : float
        See :func:`axis_starts`.
    """
    axes = (axis_starts(n, t, overlap) for n, t in zip(shape, tile, strict=True))
    return [(i, j, k) for i, j, k in itertools.product(*axes)]
