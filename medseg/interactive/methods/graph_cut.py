"""Graph cut: the mask of least cost, voxels by their log odds and surfaces by their area."""

from __future__ import annotations

import numpy as np

from medseg.interactive.lattice import Links, Numbers, links
from medseg.interactive.region import Mask, Region

SURFACE = 1.0
"""Log odds that 1 mm^2 of surface is worth, for each mm^3, where the image is flat."""
_STRONGEST = 8.0  # of log odds: no voxel outweighs all its neighbours
_SCALE = 256  # SciPy's capacities are whole numbers of 32 bits


def graph_cut(region: Region) -> Mask:
    """Cut the voxels of a region into structure and rest.

    Parameters
    ----------
    region : Region
        Its log odds are the unary term; seeds and the box's faces are fixed, as ISeg does (Wang et
        al., IEEE TMI 37 (2018) 1562, equation 7), and the contrast term is that of Boykov and
        Jolly (ICCV 2001), with areas in mm^2.
    """
    mask = region.fixed
    if not region.free.any():
        return mask
    ties = links(region, power=1)
    log_odds = np.clip(region.log_odds[region.free].astype(np.float64), -_STRONGEST, _STRONGEST)
    mask[region.free] = _least_cut(
        ties,
        np.maximum(log_odds, 0) + SURFACE * ties.to_structure,
        np.maximum(-log_odds, 0) + SURFACE * ties.to_rest,
    )
    return mask


def _least_cut(ties: Links, from_source: Numbers, to_sink: Numbers) -> Mask:
    """Which nodes are on the source's side of the least cut; shape (count,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    both = np.minimum(from_source, to_sink)  # flows straight through
    from_source, to_sink = from_source - both, to_sink - both
    nodes = np.arange(ties.count)
    source, sink = np.full(ties.count, ties.count), np.full(ties.count, ties.count + 1)
    surface = SURFACE * ties.weights
    capacities = np.concatenate([surface, surface, from_source, to_sink])
    rows = np.concatenate([ties.first, ties.second, source, nodes])
    columns = np.concatenate([ties.second, ties.first, nodes, sink])
    size = ties.count + 2
    whole = np.rint(capacities * _SCALE).astype(np.int32)
    graph = coo_array((whole, (rows, columns)), shape=(size, size)).tocsr()
    left = graph - maximum_flow(graph, ties.count, ties.count + 1).flow
    left.eliminate_zeros()
    side = np.zeros(size, np.bool_)
    side[breadth_first_order(left, ties.count, return_predecessors=False)] = True
    return side[: ties.count]
