"""What was written must read back equal, or it is not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, WriteError
from medseg.volume import Grid

_TOLERANCE_MM = 0.01


def check_read_back(
    written: npt.NDArray[Any], read: npt.NDArray[Any], grid: Grid, affine: npt.NDArray[Any]
) -> None:
    """Raise `WriteError` (``SELF_CHECK``) unless voxels and world corners came back from the file.

    Parameters
    ----------
    written, read : ndarray, shape (..., I, J, K)
        What was to be written and what the file gave back.
    grid : Grid
        Where it was to lie.
    affine : ndarray, shape (4, 4)
        Where the file says it lies, in RAS+ mm.
    """
    floats = bool(np.issubdtype(read.dtype, np.floating))
    if read.shape != written.shape or not np.array_equal(read, written, equal_nan=floats):
        raise WriteError(
            "the file did not read back with equal voxels and was removed; the disk or a library"
            " may be faulty, try another folder or format",
            code="SELF_CHECK",
        )
    try:
        same = grid.same_as(Grid(grid.shape, affine), tolerance_mm=_TOLERANCE_MM)
    except GeometryError:
        same = False
    if not same:
        raise WriteError(
            f"the file did not read back at the same place (more than {_TOLERANCE_MM} mm off) and"
            " was removed; try another format",
            code="SELF_CHECK",
        )
