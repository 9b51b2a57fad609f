"""The mouse as at a reading station: the wheel steps, the right button sets the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.volume.conventions import IPL, Reorientation, flip_lps_ras_points
from medseg_napari.display.overlays import holds_our_layer
from medseg_napari.display.window_level import dragged, target_layer, width_level
from medseg_napari.display_settings import setting
from medseg_napari.layers import KEY, knows_orientation

if TYPE_CHECKING:
    from napari.components import ViewerModel

_RIGHT_BUTTON = 2
_ZOOM_OF_A_NOTCH = 1.2
_SIDES = (("R", "L"), ("A", "P"), ("I", "S"))

Callback = Callable[[Any, Any], Any]


class Wheel:
    """Steps through slices; with Ctrl it zooms. `napari_scroll` is for scans that are not ours."""

    def __init__(self, napari_scroll: Callback) -> None:
        self.napari_scroll = napari_scroll
        self._turned = 0.0

    def __call__(self, viewer: ViewerModel, event: Any) -> None:
        """Take one turn of the wheel over the canvas."""
        ours = setting("display", "wheel_scrolls") and holds_our_layer(viewer)
        modifiers = tuple(event.modifiers)
        if not ours or viewer.dims.ndisplay == 3 or modifiers not in ((), ("Control",)):
            self.napari_scroll(viewer, event)
            return
        event.handled = True
        turned = float(np.clip(event.delta[1], -1, 1))
        if modifiers:
            zoom_at(viewer, event.position, _ZOOM_OF_A_NOTCH**turned)
            return
        self._turned -= turned
        steps = int(self._turned)
        self._turned -= steps
        step_slices(viewer, steps)


def zoom_at(viewer: ViewerModel, position: Any, factor: float) -> None:
    """Zoom in 2-D, nearer when `factor` is above 1, and keep a point of napari's world in place."""
    camera = viewer.scene.camera
    point = np.asarray(position, float)[list(viewer.dims.displayed)]
    centre = np.asarray(camera.center, float)[-2:]
    camera.zoom *= factor
    camera.center = (0.0, *(point + (centre - point) / factor))


def step_slices(viewer: ViewerModel, steps: int) -> None:
    """Move the slider of the slices in 2-D, towards its end when `steps` is positive."""
    dims = viewer.dims
    if dims.ndim < 3 or not steps:
        return
    axis = dims.order[-3]
    dims.set_current_step(axis, dims.current_step[axis] + steps)


def step_point(viewer: ViewerModel, world: Mapping[int, float]) -> None:
    """Move the sliders to world coordinates, given by axis: 0, 1, 2 of I, P, L."""
    lead = viewer.dims.ndim - 3
    axes = [lead + axis for axis in world]
    viewer.dims.set_point(axes, [float(coordinate) for coordinate in world.values()])


def drag_window(viewer: ViewerModel, event: Any) -> Iterator[None]:
    """Set the window of the scan while the right button is held down."""
    layer = target_layer(viewer)
    if layer is None or not _may_drag(viewer, event):
        return
    event.handled = True
    start, from_row, from_column = width_level(layer.contrast_limits), *_pixel(event)
    yield
    while event.type == "mouse_move":
        event.handled = True
        row, column = _pixel(event)
        layer.contrast_limits = dragged(start, column - from_column, row - from_row).limits
        yield


def _may_drag(viewer: ViewerModel, event: Any) -> bool:
    """Whether a press is ours: right button alone, and no drawing tool that may want it."""
    if event.button != _RIGHT_BUTTON or event.modifiers or not setting("display", "drag_windows"):
        return False
    return holds_our_layer(viewer) and viewer.dims.ndisplay == 2 and not is_drawing(viewer)


def is_drawing(viewer: ViewerModel) -> bool:
    """Whether the active layer has a tool at hand that may want the mouse."""
    active = viewer.layers.selection.active
    return active is not None and str(active.mode) != "pan_zoom"


def _pixel(event: Any) -> tuple[float, float]:
    """Row and column of the pointer on the canvas, in pixels."""
    column, row = event.pos[:2]
    return float(row), float(column)


def show_position(viewer: ViewerModel, event: Any) -> None:
    """Write where the pointer is in the patient into the help line of the status bar."""
    if viewer.dims.ndisplay == 2 and not is_drawing(viewer):
        viewer.help = position_text(viewer, event.position) or viewer.help


def position_text(viewer: ViewerModel, position: Any) -> str:
    """Where a point of napari's world lies in the patient: ``"L 12.0  P 40.5  S 103.2 mm"``.

    Exact for oblique and tilted scans too; empty where no scan of ours is, or has no known place.
    """
    for layer in reversed(viewer.layers):
        if not (layer.visible and knows_orientation(layer)):
            continue
        source = layer.metadata[KEY]
        spatial = np.asarray(position, float)[-3:]
        scale, translate = (np.asarray(vector)[-3:] for vector in (layer.scale, layer.translate))
        turned = Reorientation.towards(source["grid"], IPL).target
        index = (spatial - translate) / scale
        if (index < -0.5).any() or (index > np.array(turned.shape) - 0.5).any():
            continue
        lps = flip_lps_ras_points(turned.to_world(index))
        along = zip(_SIDES, lps, strict=True)
        return "  ".join(f"{ends[int(mm >= 0)]} {abs(mm):.1f}" for ends, mm in along) + " mm"
    return ""


def install(viewer: ViewerModel) -> None:
    """Put the wheel, the right button and the read-out into a viewer; twice changes nothing."""
    if any(isinstance(callback, Wheel) for callback in viewer.mouse_wheel_callbacks):
        return
    napari_scroll = [
        callback for callback in viewer.mouse_wheel_callbacks if _name(callback) == "dims_scroll"
    ]
    for callback in napari_scroll:
        viewer.mouse_wheel_callbacks.remove(callback)
    viewer.mouse_wheel_callbacks.append(
        Wheel(napari_scroll[0] if napari_scroll else lambda _viewer, _event: None)
    )
    viewer.mouse_drag_callbacks.append(drag_window)
    viewer.mouse_move_callbacks.append(show_position)


def _name(callback: object) -> str:
    return str(getattr(callback, "__name__", ""))
