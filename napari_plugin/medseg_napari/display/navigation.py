"""Go to a place of a label map: a voxel, or the next slice that holds a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.components import Dims, ViewerModel
    from napari.layers import Labels


def centre_on(viewer: ViewerModel, layer: Labels, index: tuple[int, int, int]) -> None:
    """Show the slices through a voxel, in the middle of the canvas; zoom stays as it is."""
    dims = viewer.dims
    world = [float(n) for n in layer.data_to_world(index)]
    lead = dims.ndim - 3
    for axis in range(3):
        dims.set_point(lead + axis, world[axis])
    if dims.ndisplay == 2:
        shown = [world[axis - lead] for axis in dims.displayed]
        viewer.scene.camera.center = (0.0, *shown)


def step_to_slice(viewer: ViewerModel, layer: Labels, value: int, step: int) -> bool:
    """Show the next slice that holds a label, back (`step` -1) or on (1); False without one."""
    dims = viewer.dims
    lead, axis = dims.ndim - 3, stepped_axis(dims)
    mm, start = float(layer.scale[-3:][axis]), float(layer.translate[-3:][axis])
    here = round((float(dims.point[lead + axis]) - start) / mm)
    at = next_slice(layer, value, axis=axis, at=here, step=step)
    if at is None:
        return False
    dims.set_point(lead + axis, start + at * mm)
    return True


def stepped_axis(dims: Dims) -> int:
    """The axis of a volume that the slider steps along; 0 in 3-D."""
    if dims.ndisplay == 3 or dims.ndim < 3:
        return 0
    return max(0, int(dims.order[-3]) - (int(dims.ndim) - 3))


def next_slice(layer: Labels, value: int, *, axis: int, at: int, step: int) -> int | None:
    """The next slice that holds a label, before (`step` -1) or after (1) slice `at`."""
    from medseg.editing import box_of

    values = np.asarray(layer.data)
    box = box_of(values, value)
    if box is None:
        return None
    others = tuple(other for other in range(3) if other != axis)
    held = np.flatnonzero((values[box] == value).any(axis=others)) + box[axis].start
    ahead = held[held > at] if step > 0 else held[held < at][::-1]
    return int(ahead[0]) if ahead.size else None
