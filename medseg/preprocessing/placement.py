"""The inverse transform: how a prepared array maps back to the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.planning.plan import Plan
from medseg.volume.bounding_box import Box
from medseg.volume.conventions import Reorientation
from medseg.volume.grid import Grid
from medseg.volume.resampling import resized, shape_for_spacing
from medseg.volume.straightening import Straightening, straightening_of


@dataclass(frozen=True)
class Placement:
    """How prepared voxels lie in the scan they came from.

    Parameters
    ----------
    grid : Grid
        Of the scan.
    box : tuple of slice or None
        First step: what stays of the scan's voxels when its padding is cut off.
    straightening : Straightening or None
        For a scan with gantry tilt.
    reorientation : Reorientation
        From the (straightened) scan's axes to the plan's; exact.
    prepared : Grid
        The grid the network sees: same axes as ``reorientation.target``, other voxel counts.
    """

    grid: Grid
    box: Box | None
    straightening: Straightening | None
    reorientation: Reorientation
    prepared: Grid

    @classmethod
    def of(cls, grid: Grid, plan: Plan, box: Box | None = None) -> Placement:
        """Where `plan` puts a scan on `grid`, of which `box` is left, or all."""
        cropped = grid if box is None else grid.cropped(box)
        straightening = straightening_of(cropped)
        straight = straightening.target if straightening else cropped
        reoriented = Reorientation.towards(straight, plan.orientation)
        native = reoriented.target
        shape = shape_for_spacing(native, plan.spacing_from(native.spacing_mm))
        return cls(grid, box, straightening, reoriented, resized(native, shape))

    @property
    def native_shape(self) -> tuple[int, int, int]:
        """Voxel counts, in the plan's axis order, of what is left: where logits have to grow to."""
        return self.reorientation.target.shape

    def to_native(self, values: npt.NDArray[Any], *, labels: bool = True) -> npt.NDArray[Any]:
        """Labels of `native_shape`, axes as the plan's, on the scan's own grid; 0 in its padding.

        Parameters
        ----------
        values : ndarray, shape `native_shape`
            Labels at the (cropped, straightened) scan's voxels in the plan's axis order.
        labels : bool, default True
            Whether the values are labels, and no numbers that may be interpolated and rounded.
        """
        if values.shape != self.native_shape:
            raise GeometryError(f"labels of shape {values.shape}, expected {self.native_shape}")
        restored = self.reorientation.undo(values)
        if self.straightening is not None and labels:
            restored = self.straightening.undo_labels(restored)
        elif self.straightening is not None:
            restored = np.rint(self.straightening.undo(restored)).astype(values.dtype)
        if self.box is None:
            return restored
        whole = np.zeros(self.grid.shape, restored.dtype)
        whole[self.box] = restored
        return whole
