"""Random walker: where a walk through like voxels more probably ends in the structure."""

from __future__ import annotations

import numpy as np

from medseg.interactive.lattice import links
from medseg.interactive.region import Mask, Region

STIFFNESS = 1.0
"""How much a neighbour 1 mm away counts, against the voxel's own log odds."""
_ACCURACY = 1e-4


def random_walker(region: Region) -> Mask:
    """Walk from the free voxels of a region to its seeds and faces.

    Parameters
    ----------
    region : Region
        Its log odds are the priors of Grady (CVPR 2005); ties are those of a Laplacian in mm.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import LinearOperator, cg

    mask = region.fixed
    if not region.free.any():
        return mask
    ties = links(region, power=2)
    nodes = np.arange(ties.count)
    prior = 1 / (1 + np.exp(-region.log_odds[region.free].astype(np.float64)))
    weights = STIFFNESS * ties.weights
    inside, outside = STIFFNESS * ties.to_structure, STIFFNESS * ties.to_rest
    diagonal = 1 + inside + outside
    for end in (ties.first, ties.second):
        diagonal += np.bincount(end, weights, ties.count)
    rows = np.concatenate([nodes, ties.first, ties.second])
    columns = np.concatenate([nodes, ties.second, ties.first])
    values = np.concatenate([diagonal, -weights, -weights])
    matrix = coo_array((values, (rows, columns)), shape=(ties.count, ties.count)).tocsr()
    jacobi = LinearOperator(matrix.shape, lambda x: x.ravel() / diagonal)
    probability, _ = cg(matrix, prior + inside, x0=prior, rtol=_ACCURACY, M=jacobi)
    mask[region.free] = probability > 0.5
    return mask
