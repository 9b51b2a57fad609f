"""What a method sees of a scan: a box around a prompt, and what is known of one structure there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Three = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Region:
    """A box of a scan with what is known of one structure in it.

    Parameters
    ----------
    image : ndarray of float32, shape (C, I, J, K)
        Intensities from 0 to 1.
    seeds : ndarray of int8, shape (I, J, K)
        1 where a prompt says the structure is, -1 where one says it is not, else 0.
    previous : ndarray of bool, shape (I, J, K)
        The structure before.
    free : ndarray of bool, shape (I, J, K)
        Voxels without a seed that may change; those at a face of the box do not, unless the scan
        ends there, so that the change joins what lies around.
    log_odds : ndarray of float32, shape (I, J, K)
        For the structure against everything else, voxel by voxel.
    spacing_mm : tuple of float
    """

    image: Floats
    seeds: npt.NDArray[np.int8]
    previous: Mask
    free: Mask
    log_odds: Floats
    spacing_mm: Three

    @property
    def fixed(self) -> Mask:
        """Where the structure is among the voxels that are not free; shape (I, J, K)."""
        fixed: Mask = (self.previous | (self.seeds > 0)) & (self.seeds >= 0) & ~self.free
        return fixed


class Method(Protocol):
    """Finds a structure in a region; the same region gives the same mask, bit for bit."""

    def __call__(self, region: Region, /) -> Mask:
        """Where the structure is; shape (I, J, K). What is not free is as `Region.fixed`."""
