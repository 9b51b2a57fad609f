"""The ticket home: how a prepared array maps back to the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.planning.plan import Plan
from medseg.volume.conventions import Reorientation
from medseg.volume.grid import Grid
from medseg.volume.resampling import shape_at, stretched

SHEAR_LIMIT_DEGREES = 0.1


@dataclass(frozen=True)
class Placement:
    """How prepared voxels lie in the scan they came from.

    Parameters
    ----------
    reorientation : Reorientation
        From the scan's axes to the plan's; exact.
    prepared : Grid
        The grid the network sees: same axes as ``reorientation.target``, other voxel counts.
    """

    reorientation: Reorientation
    prepared: Grid

    @classmethod
    def of(cls, grid: Grid, plan: Plan) -> Placement:
        """Where `plan` puts a scan on `grid`.

        Parameters
        ----------
        grid : Grid
            The scan's own grid.
        plan : Plan
            Orientation and spacing to go to.

        Returns
        -------
        Placement

        Raises
        ------
        GeometryError
            When the grid is sheared (gantry tilt).
        """
        if grid.shear_degrees > SHEAR_LIMIT_DEGREES:
            raise GeometryError(
                f"the scan's axes are sheared by {grid.shear_degrees:.1f} degrees (gantry tilt),"
                " which networks cannot be run on; resample it to a right-angled grid first",
                code="SHEARED",
            )
        turned = Reorientation.towards(grid, plan.orientation)
        shape = shape_at(turned.target, plan.spacing_mm)
        return cls(turned, stretched(turned.target, shape))

    @property
    def home_shape(self) -> tuple[int, int, int]:
        """Voxel counts of the scan in the plan's axis order: where logits have to grow to."""
        return self.reorientation.target.shape

    def bring_home(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Labels of `home_shape`, axes as the plan's, on the scan's own grid (a view).

        Parameters
        ----------
        values : ndarray, shape `home_shape`
            Labels at the scan's voxels in the plan's axis order.

        Returns
        -------
        ndarray, shape of the scan's grid
        """
        if values.shape != self.home_shape:
            raise GeometryError(f"labels of shape {values.shape}, expected {self.home_shape}")
        return self.reorientation.undo(values)
