"""GrowCut: every voxel goes to the seed with the shortest path of like voxels to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.interactive.lattice import Geodesics
from medseg.interactive.region import Mask, Region, Three

CONTRAST = 4.0
"""How many times longer a step of one usual difference of intensities makes the way."""
_CERTAIN = 2.0  # log odds of voxels that grow by themselves: about seven to one


def grow_cut(region: Region) -> Mask:
    """Grow the structure and the rest of a region from its seeds, faces and certain voxels.

    Parameters
    ----------
    region : Region
    """
    certain = region.free & (np.abs(region.log_odds) >= _CERTAIN)
    sources = ~region.free | certain
    mask = region.fixed | (certain & (region.log_odds > 0))
    if not mask.any():
        return mask
    ways = Geodesics.through(region.image, region.spacing_mm, contrast=CONTRAST)
    grown: Mask = np.where(region.free, mask.ravel()[ways.nearest(sources)], region.fixed)
    return grown


def grow_from_seeds(
    image: npt.NDArray[Any], seeds: npt.NDArray[Any], spacing_mm: Three
) -> npt.NDArray[Any]:
    """Grow several structures at once, until they meet.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
    seeds : ndarray of int, shape (I, J, K)
        A value for each structure, the background among them, where it was painted; else 0.
    spacing_mm : tuple of float

    Returns
    -------
    ndarray, shape (I, J, K)
        The value of the seed that each voxel goes to; of the dtype of `seeds`.

    Raises
    ------
    InputError
        When there are seeds of fewer than two structures, or of another shape than the image.

    References
    ----------
    Vezhnevets and Konouchine, GraphiCon 2005; as shortest paths by Zhu et al., MICCAI IMIC 2014,
    which 3D Slicer's "Grow from seeds" runs.
    """
    if seeds.shape != image.shape[1:]:
        raise InputError(f"seeds of shape {seeds.shape} do not fit an image of {image.shape[1:]}")
    structures = np.unique(seeds[seeds != 0])
    if structures.size < 2:
        raise InputError(
            f"growing needs seeds of two structures or more, got {structures.size}; paint some of"
            " what lies around as a structure of its own",
            code="SEEDS",
        )
    ways = Geodesics.through(np.asarray(image, np.float32), spacing_mm, contrast=CONTRAST)
    grown: npt.NDArray[Any] = seeds.ravel()[ways.nearest(seeds != 0)]
    return grown
