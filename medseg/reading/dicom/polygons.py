"""Which pixels polygons hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg.volume.grid import FloatArray

_DECIMALS = 6  # of pixel indices; finer is the noise of decimal strings
_ON_LINE = 1e-3  # pixels

Mask = npt.NDArray[np.bool_]


def filled(rings: Sequence[FloatArray], shape: tuple[int, int]) -> Mask:
    """Pixels whose centres lie inside an odd number of rings, or on one of them; shape (I, J).

    Parameters
    ----------
    rings : sequence of ndarray, shape (N, 2)
        Closed polygons as pixel indices along I and J; parts outside the picture are cut off.
    shape : tuple of int
        Pixels along I and J.

    References
    ----------
    The even-odd rule along each row, with edges half open along J.
    """
    edges = np.concatenate([_edges(np.round(ring, _DECIMALS)) for ring in rings])
    x, j, along_row = _crossings(edges, shape[1])
    odd = np.zeros((shape[0] + 1, shape[1]), np.uint8)
    first = np.clip(np.ceil(x), 0, shape[0]).astype(int)
    np.bitwise_xor.at(odd, (first, j), np.uint8(1))
    inside: Mask = np.bitwise_xor.accumulate(odd[:-1], axis=0).astype(bool)
    _mark_lines(inside, x, j, edges[along_row])
    return inside


def _edges(ring: FloatArray) -> FloatArray:
    """Edges (N, 4) as i, j of both ends, without paths there and back (the bridges of keyholes)."""
    edges = np.hstack([ring, np.roll(ring, -1, axis=0)])
    if len(np.unique(ring, axis=0)) == len(ring):
        return edges
    directed = {tuple(edge) for edge in edges.tolist()}
    single = [(c, d, a, b) not in directed for a, b, c, d in edges.tolist()]
    return edges[single]


def _crossings(edges: FloatArray, rows: int) -> tuple[FloatArray, npt.NDArray[np.intp], Mask]:
    """Where edges cross the picture's rows of centres (i and row), and which lie along a row."""
    ends = np.clip(np.ceil(np.sort(edges[:, 1::2], axis=1)), 0, rows).astype(np.intp)
    low, counts = ends[:, 0], ends[:, 1] - ends[:, 0]
    edge = np.repeat(np.arange(len(edges)), counts)
    firsts = np.cumsum(counts) - counts
    j = low[edge] + np.arange(len(edge)) - firsts[edge]
    i0, j0, i1, j1 = edges[edge].T
    along_row = np.abs(edges[:, 1] - edges[:, 3]) < _ON_LINE
    return i0 + (j - j0) / (j1 - j0) * (i1 - i0), j, along_row


def _mark_lines(
    inside: Mask, x: FloatArray, j: npt.NDArray[np.intp], row_edges: FloatArray
) -> None:
    """Add the pixels whose centres lie on an edge: where it crosses a row, or all along a row."""
    near = np.clip(np.round(x), 0, inside.shape[0] - 1)
    on = np.abs(x - near) < _ON_LINE
    inside[near[on].astype(np.intp), j[on]] = True
    row = np.round(row_edges[:, 1])
    along = (np.abs(row_edges[:, 1] - row) < _ON_LINE) & (row >= 0) & (row < inside.shape[1])
    for i0, _, i1, j1 in row_edges[along]:
        first, last = np.clip(sorted((i0, i1)), -1.0, inside.shape[0])
        start = max(0, int(np.ceil(first - _ON_LINE)))
        inside[start : int(np.floor(last + _ON_LINE)) + 1, round(j1)] = True
