"""The connected pieces of a mask, and the classes a step is about."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.postprocessing.protocol import Three
from medseg.volume.bounding_box import Box, bounding_box

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ConnectedComponents:
    """Connected pieces of a mask.

    Parameters
    ----------
    numbers : ndarray of int, shape (I, J, K)
        Number of the piece each voxel belongs to, from 1; 0 outside the mask.
    volumes_mm3 : ndarray of float
        Volume of each piece, in mm^3; that of number 0 is 0.
    """

    numbers: npt.NDArray[Any]
    volumes_mm3: npt.NDArray[np.float64]

    @classmethod
    def of(cls, mask_IJK: Mask, *, spacing_mm: Three, corners: bool) -> ConnectedComponents:
        """Pieces whose voxels share a face, or also an edge or a corner."""
        import SimpleITK

        image = SimpleITK.GetImageFromArray(mask_IJK.astype(np.uint8))
        numbers = SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, corners))
        voxels = np.bincount(numbers.ravel()).astype(np.float64)
        voxels[0] = 0
        return cls(numbers, voxels * prod(spacing_mm))

    def select(self, selected: Mask) -> Mask:
        """The voxels of the pieces for which `selected`, by number, is true."""
        mask: Mask = selected[self.numbers]
        return mask


def classes_of(classes_IJK: npt.NDArray[Any], labels: tuple[int, ...]) -> list[int]:
    """The classes to work on that are there: `labels`, or all but the background."""
    present = np.flatnonzero(np.bincount(classes_IJK.ravel()))
    return [int(value) for value in present if value and (not labels or value in labels)]


def box_of(mask_IJK: Mask) -> Box:
    """The smallest box that holds a mask (which must not be empty)."""
    box = bounding_box(mask_IJK)
    assert box is not None
    return box
