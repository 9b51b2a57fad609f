"""Transforms to the grid of a model that was trained with another library's preparation."""

from __future__ import annotations

import numpy as np

from medseg.planning.plan import Plan
from medseg.preprocessing.regridding import Array, regrid_image
from medseg.preprocessing.transforms import ForKeys, Regridding, SeparableSpacing, resampled
from medseg.volume.conventions import Reorientation
from medseg.volume.grid import Grid
from medseg.volume.resampling import resized, shape_for_spacing


class NativeAxes(Regridding):
    """Put a tensor's own axes into an order, unturned, such as ``"KJI"``."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order

    def _apply(self, array: Array, before: Grid) -> tuple[Array, Grid]:
        step = Reorientation.towards(before, self.order)
        return np.ascontiguousarray(step.apply(array)), step.target

    def _undo(self, array: Array, before: Grid, *, labels: bool) -> Array:
        return np.ascontiguousarray(Reorientation.towards(before, self.order).undo(array))


class PlannedSpacing(SeparableSpacing):
    """Bring a tensor to a plan's spacing, images in the plan's own way of resampling.

    Parameters
    ----------
    plan : Plan
    labels : bool, default False
        As of `SeparableSpacing`.
    """

    def __init__(self, plan: Plan, *, labels: bool = False) -> None:
        super().__init__(plan.spacing_mm, labels=labels)
        self.plan = plan

    def _apply(self, array: Array, before: Grid) -> tuple[Array, Grid]:
        target_mm = self.plan.spacing_from(before.spacing_mm)
        shape, way = shape_for_spacing(before, target_mm), self.plan.resampling
        if self.labels or way is None:
            values = resampled(array, shape, labels=self.labels)
        else:
            values = regrid_image(array, shape, way.image, before.spacing_mm, target_mm)
        return values, resized(before, shape)


class NativeAxesd(ForKeys):
    """`NativeAxes` for dictionaries."""

    array = NativeAxes


class PlannedSpacingd(ForKeys):
    """`PlannedSpacing` for dictionaries."""

    array = PlannedSpacing
