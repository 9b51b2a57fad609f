"""Orientation letters at the edges of the canvas, and a guard against a mirrored 3-D view.

The letters say where the patient's right (R), left (L), front (A), back (P), head (S) and feet
(I) are. They belong to napari's world as :mod:`medseg_napari.layers` lays it out, and so are shown
only over layers of which :func:`medseg_napari.layers.knows_orientation` holds.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.volume.grid import FloatArray
from medseg_napari.display_settings import setting
from medseg_napari.layers import KEY, attributes_of, knows_orientation, same_place

if TYPE_CHECKING:
    from napari.components import ViewerModel

_ENDS = (("S", "I"), ("A", "P"), ("R", "L"))
"""For each of the last three world axes: what lies at its low and at its high end."""

_EDGES = {
    "medseg_top": "top_center",
    "medseg_bottom": "bottom_center",
    "medseg_left": "middle_left",
    "medseg_right": "middle_right",
}
_COS_30_DEGREES = 0.8660254
_LETTER_RGBA = (1.0, 0.85, 0.3, 1.0)
_BOX_RGBA = (0.0, 0.0, 0.0, 0.6)


def install(viewer: ViewerModel) -> None:
    """Show orientation letters in `viewer` and keep them true; a second call does nothing."""
    from napari.components.overlays import TextOverlay

    if "medseg_top" in viewer.canvas.overlays:
        return
    for key, position in _EDGES.items():
        viewer.canvas.overlays[key] = TextOverlay(
            position=position,
            font_size=16,
            color=_LETTER_RGBA,
            box=True,
            box_color=_BOX_RGBA,
            visible=False,
        )
    _follow_viewer(viewer)


def _follow_viewer(viewer: ViewerModel) -> None:
    """Follow what changes the letters, without keeping the viewer alive."""
    reference = weakref.ref(viewer)

    def update(_event: Any = None) -> None:
        if (shown := reference()) is not None:
            _keep_unmirrored(shown)
            _update_letters(shown)

    def turn(_event: Any = None) -> None:
        if (shown := reference()) is not None:
            follow_convention(shown)

    def listen(event: Any) -> None:
        event.value.events.visible.connect(update)

    dims, layers, camera = viewer.dims.events, viewer.layers.events, viewer.scene.camera.events
    for layer in viewer.layers:
        layer.events.visible.connect(update)
    layers.inserted.connect(listen)
    _connect(turn, dims.order, dims.ndisplay, layers.inserted)
    changes = (dims.order, dims.ndisplay, dims.ndim, layers.inserted, layers.removed)
    _connect(update, *changes, camera.orientation, camera.angles)
    turn()
    update()


def _connect(callback: Callable[..., None], *emitters: Any) -> None:
    for emitter in emitters:
        emitter.connect(callback)


def follow_convention(viewer: ViewerModel) -> None:
    """Put the patient's right on the side the person chose, in axial and coronal planes.

    Sagittal planes and 3-D, which would be mirrored, stay as they are.
    """
    if not holds_our_layer(viewer):
        return
    lead = viewer.dims.ndim - 3
    across = viewer.dims.order[-1] == lead + 2 and viewer.dims.ndisplay == 2
    swapped = across and setting("display", "convention") == "neurological"
    wanted = ("down", "left" if swapped else "right")
    if tuple(str(word) for word in viewer.scene.camera.orientation2d) != wanted:
        viewer.scene.camera.orientation2d = wanted


def refresh(viewer: ViewerModel) -> None:
    """Show what the person has just chosen: the convention, and letters or none."""
    follow_convention(viewer)
    _update_letters(viewer)


def letters(viewer: ViewerModel) -> dict[str, str]:
    """Which letter belongs at the edges top, bottom, left and right.

    An edge that is turned more than 30 degrees away from an axis of the patient has none.
    """
    if not placed_in_patient(viewer):
        return dict.fromkeys(("top", "bottom", "left", "right"), "")
    down, right = _screen_directions(viewer)
    return {
        "top": _letter(-down),
        "bottom": _letter(down),
        "left": _letter(-right),
        "right": _letter(right),
    }


def _screen_directions(viewer: ViewerModel) -> tuple[FloatArray, FloatArray]:
    """What is down and what is right on the screen, along the last three world axes (I, P, L)."""
    camera = viewer.scene.camera
    if viewer.dims.ndisplay == 2:
        vertical, horizontal = (str(word) for word in camera.orientation2d)
        down = np.array([1.0 if vertical == "down" else -1.0, 0.0])
        right = np.array([0.0, 1.0 if horizontal == "right" else -1.0])
    else:
        up = np.asarray(camera.up_direction, np.float64)
        hand = 1.0 if str(camera.handedness) == "right" else -1.0
        down, right = -up, hand * np.cross(camera.view_direction, up)
    return _along_world(viewer, down), _along_world(viewer, right)


def _along_world(viewer: ViewerModel, displayed: FloatArray) -> FloatArray:
    """Components along the displayed axes, shape (2,) or (3,), put on I, P, L; shape (3,)."""
    world = np.zeros(max(viewer.dims.ndim, 3))
    world[list(viewer.dims.order[-displayed.size :])] = displayed
    return world[-3:]


def _letter(direction: FloatArray) -> str:
    """The letter that lies in `direction` (I, P, L), if it is close to one."""
    axis = int(np.abs(direction).argmax())
    if abs(direction[axis]) < _COS_30_DEGREES:
        return ""
    return _ENDS[axis][int(direction[axis] > 0)]


def _update_letters(viewer: ViewerModel) -> None:
    shown = letters(viewer)
    for key in _EDGES:
        overlay = viewer.canvas.overlays[key]
        overlay.text = shown[key.removeprefix("medseg_")]
        overlay.visible = bool(overlay.text) and bool(setting("display", "letters"))


def _keep_unmirrored(viewer: ViewerModel) -> None:
    """Undo an odd order of the axes in 3-D, which would show the patient mirrored."""
    dims = viewer.dims
    if dims.ndisplay != 3 or not holds_our_layer(viewer):
        return
    if _is_odd(dims.order[-3:]):
        dims.order = tuple(range(dims.ndim))


def _is_odd(order: tuple[int, ...]) -> bool:
    swaps = sum(a > b for row, a in enumerate(order) for b in order[row + 1 :])
    return swaps % 2 == 1


def holds_our_layer(viewer: ViewerModel) -> bool:
    """Whether a layer that medseg placed is there."""
    return any(KEY in layer.metadata for layer in viewer.layers)


def placed_in_patient(viewer: ViewerModel) -> bool:
    """Whether it is known of every volume that shows where the patient's left and right are.

    Labels that medseg did not make are as well known as the scan whose voxels they have.
    """
    volumes = [layer for layer in viewer.layers if layer.visible and _is_volume(layer)]
    placed = [layer for layer in volumes if knows_orientation(layer)]
    return bool(placed) and all(
        layer in placed or any(_drawn_on(layer, scan) for scan in placed) for layer in volumes
    )


def _is_volume(layer: Any) -> bool:
    from napari.layers import Image, Labels

    return isinstance(layer, Image | Labels)


def _drawn_on(layer: Any, scan: Any) -> bool:
    """Whether a layer is labels without a place of their own, voxel for voxel on a scan."""
    if not hasattr(layer, "selected_label") or layer.metadata.get(KEY, {}).get("grid"):
        return False
    shapes = (layer.data.shape, scan.data.shape)
    return same_place(shapes[0], attributes_of(layer), shapes[1], attributes_of(scan))
