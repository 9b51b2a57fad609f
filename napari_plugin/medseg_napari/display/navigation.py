"""Go to a place of a label map: a voxel, or the next slice that holds a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medseg_napari.layers import attributes_of, same_place, space_of

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


def go_to(viewer: ViewerModel, layer: Any) -> int:
    """Show a layer that was opened: its middle, fitted to the canvas; how many others were hidden.

    Hidden is every other volume that does not share its place: for a scan what has other voxels,
    for labels what lies elsewhere in the world.
    """
    others = [other for other in viewer.layers if other is not layer and other.visible]
    shares = _overlap if hasattr(layer, "selected_label") else _same_voxels
    hidden = [other for other in others if _is_volume(other) and not shares(layer, other)]
    for other in hidden:
        other.visible = False
    lead = viewer.dims.ndim - 3
    for axis, world in enumerate(layer.extent.world.mean(axis=0)[-3:]):
        viewer.dims.set_point(lead + axis, float(world))
    viewer.fit_to_view(layers=[layer])
    return len(hidden)


def _is_volume(layer: Any) -> bool:
    from napari.layers import Image, Labels

    return isinstance(layer, Image | Labels) and layer.ndim >= 3


def _same_voxels(layer: Any, other: Any) -> bool:
    mine, theirs = attributes_of(layer), attributes_of(other)
    return same_place(space_of(layer.data, mine), mine, space_of(other.data, theirs), theirs)


def _overlap(layer: Any, other: Any) -> bool:
    """Whether the boxes of two layers have a part of the world in common."""
    low, high = layer.extent.world[:, -3:]
    other_low, other_high = other.extent.world[:, -3:]
    return bool((np.maximum(low, other_low) < np.minimum(high, other_high)).all())


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
