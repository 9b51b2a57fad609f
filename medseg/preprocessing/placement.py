"""The inverse transform: how a prepared array maps back to the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.planning.plan import Plan
from medseg.volume.conventions import Reorientation
from medseg.volume.grid import Grid
from medseg.volume.resampling import resized, shape_for_spacing
from medseg.volume.straightening import Straightening, straightening_of


@dataclass(frozen=True)
class Placement:
    """How prepared voxels lie in the scan they came from.

    Parameters
    ----------
    straightening : Straightening or None
        First step, for a scan with gantry tilt.
    reorientation : Reorientation
        From the (straightened) scan's axes to the plan's; exact.
    prepared : Grid
        The grid the network sees: same axes as ``reorientation.target``, other voxel counts.
    """

    straightening: Straightening | None
    reorientation: Reorientation
    prepared: Grid

    @classmethod
    def of(cls, grid: Grid, plan: Plan) -> Placement:
        """Where `plan` puts a scan on `grid`."""
        straightening = straightening_of(grid)
        straight = straightening.target if straightening else grid
        reoriented = Reorientation.towards(straight, plan.orientation)
        shape = shape_for_spacing(reoriented.target, plan.spacing_mm)
        return cls(straightening, reoriented, resized(reoriented.target, shape))

    @property
    def native_shape(self) -> tuple[int, int, int]:
        """Voxel counts of the scan in the plan's axis order: where logits have to grow to."""
        return self.reorientation.target.shape

    def to_native(self, values: npt.NDArray[Any], *, labels: bool = True) -> npt.NDArray[Any]:
        """Labels of `native_shape`, axes as the plan's, on the scan's own grid.

        Parameters
        ----------
        values : ndarray, shape `native_shape`
            Labels at the (straightened) scan's voxels in the plan's axis order.
        labels : bool, default True
            Whether the values are labels, and no numbers that may be interpolated and rounded.
        """
        if values.shape != self.native_shape:
            raise GeometryError(f"labels of shape {values.shape}, expected {self.native_shape}")
        restored = self.reorientation.undo(values)
        if self.straightening is None:
            return restored
        if labels:
            return self.straightening.undo_labels(restored)
        return np.rint(self.straightening.undo(restored)).astype(values.dtype)
