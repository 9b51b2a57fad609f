"""Voxels as the nodes of a graph: which are neighbours, and how much alike they look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.interactive.region import Floats, Mask, Region, Three

Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
_LEAST_CONTRAST = 1e-6


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Pairs of voxels that share a face, along one axis.

    Parameters
    ----------
    first, second : ndarray of int, shape (N,)
        Flat indices of the two.
    difference : ndarray of float, shape (N,)
        Of their intensities, over all channels, in units of the region's usual difference.
    apart_mm : float
        From centre to centre.
    """

    first: Indices
    second: Indices
    difference: Numbers
    apart_mm: float


def neighbours(image: Floats, spacing_mm: Three) -> Iterator[Neighbours]:
    """Pairs of neighbours along each axis that has more than one voxel.

    The usual difference is the root mean square over the pairs of an axis, as Boykov and Jolly
    (ICCV 2001) choose it: thick slices that differ more from each other are no edges for that.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
    spacing_mm : tuple of float
    """
    index = np.arange(image[0].size, dtype=np.int64).reshape(image.shape[1:])
    for axis, mm in enumerate(spacing_mm):
        if image.shape[axis + 1] < 2:
            continue
        squares = (np.diff(image, axis=axis + 1).astype(np.float64) ** 2).sum(axis=0).ravel()
        scale = max(float(np.sqrt(squares.mean())), _LEAST_CONTRAST)
        lower, upper = np.arange(index.shape[axis] - 1), np.arange(1, index.shape[axis])
        yield Neighbours(
            index.take(lower, axis).ravel(),
            index.take(upper, axis).ravel(),
            np.sqrt(squares) / scale,
            mm,
        )


@dataclass(frozen=True, eq=False)
class Links:
    """The free voxels of a region as nodes 0, 1..., and what ties them together.

    Parameters
    ----------
    count : int
        Nodes.
    first, second : ndarray of int, shape (N,)
        Pairs of nodes.
    weights : ndarray of float, shape (N,)
        Of the pairs.
    to_structure, to_rest : ndarray of float, shape (count,)
        Sum of the weights between each node and its neighbours that are not free, by side.
    """

    count: int
    first: Indices
    second: Indices
    weights: Numbers
    to_structure: Numbers
    to_rest: Numbers


def links(region: Region, *, power: int) -> Links:
    """Ties between voxels, ``exp(-d^2 / 2) / apart_mm ** power``: strong where they look alike.

    With a power of 1 and log odds that count voxels, the sum over a surface is its area in mm^2
    over the voxel's volume in mm^3 (Boykov and Kolmogorov, ICCV 2003); with 2 it is the Laplacian.

    Parameters
    ----------
    region : Region
    power : int
    """
    free, fixed = region.free.ravel(), region.fixed.ravel()
    count = int(np.count_nonzero(free))
    node = np.where(free, np.cumsum(free) - 1, -1)
    to_structure, to_rest = np.zeros(count), np.zeros(count)
    first, second, weights = [], [], []
    for pairs in neighbours(region.image, region.spacing_mm):
        weight = np.exp(-(pairs.difference**2) / 2) / pairs.apart_mm**power
        inner = free[pairs.first] & free[pairs.second]
        first.append(node[pairs.first[inner]])
        second.append(node[pairs.second[inner]])
        weights.append(weight[inner])
        for inner_end, other in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
            outer = free[inner_end] & ~free[other]
            for side, sums in ((fixed, to_structure), (~fixed, to_rest)):
                on = outer & side[other]
                np.add.at(sums, node[inner_end[on]], weight[on])
    return Links(
        count,
        np.concatenate(first or [np.zeros(0, np.int64)]),
        np.concatenate(second or [np.zeros(0, np.int64)]),
        np.concatenate(weights or [np.zeros(0)]),
        to_structure,
        to_rest,
    )


@dataclass(frozen=True, eq=False)
class Geodesics:
    """Shortest paths through a box, on which differences of intensity lengthen the way.

    Parameters
    ----------
    shape : tuple of int
        Of the box.
    graph : scipy.sparse.csr_array
        Lengths of single steps, in mm.
    """

    shape: tuple[int, ...]
    graph: Any

    @classmethod
    def through(cls, image: Floats, spacing_mm: Three, *, contrast: float) -> Geodesics:
        """Steps of d usual differences count ``1 + contrast * d`` times their length.

        Parameters
        ----------
        image : ndarray, shape (C, I, J, K)
        spacing_mm : tuple of float
        contrast : float
        """
        from scipy.sparse import coo_array

        size = image[0].size
        rows, columns, steps = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
        for pairs in neighbours(image, spacing_mm):
            rows.append(pairs.first)
            columns.append(pairs.second)
            steps.append(pairs.apart_mm * (1 + contrast * pairs.difference))
        ends = (np.concatenate(rows), np.concatenate(columns))
        graph = coo_array((np.concatenate(steps), ends), shape=(size, size)).tocsr()
        return cls(image.shape[1:], graph)

    def length_mm(self, sources: Mask, *, farthest_mm: float) -> Numbers:
        """Of the path from the nearest source; infinite beyond `farthest_mm`. Shape of the box."""
        from scipy.sparse.csgraph import dijkstra

        length: Numbers = dijkstra(
            self.graph,
            directed=False,
            indices=np.flatnonzero(sources),
            min_only=True,
            limit=farthest_mm,
        )
        return length.reshape(self.shape)

    def nearest(self, sources: Mask) -> Indices:
        """Flat index of the source at the end of the shortest path; there must be one."""
        from scipy.sparse.csgraph import dijkstra

        _, _, nearest = dijkstra(
            self.graph,
            directed=False,
            indices=np.flatnonzero(sources),
            min_only=True,
            return_predecessors=True,
        )
        return np.asarray(nearest.reshape(self.shape), np.int64)
