"""Two lines across the canvas through the point at which the linked planes stand.

They are napari's own box overlays, each drawn flat into a line: nothing is added to the layer
list, and nothing is saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medseg_napari.display.overlays import holds_our_layer
from medseg_napari.display_settings import off_change, on_change, setting

if TYPE_CHECKING:
    from napari.components import ViewerModel

DOWN, ACROSS = "medseg_cross_down", "medseg_cross_across"
_OPACITY = 0.7

Line = tuple[tuple[float, float], tuple[float, float]]


class Crosshair:
    """Follows sliders, zoom and pan of a viewer while `on`; shows in 2-D over a scan of medseg."""

    def __init__(self, viewer: ViewerModel) -> None:
        self.on = False
        self._viewer = viewer
        self._install()
        for emitter in self._emitters():
            emitter.connect(self._update)
        on_change("display", self._update)

    def switch(self, *, on: bool) -> None:
        """Show the lines, or take them away."""
        self.on = on
        self._update()

    def close(self) -> None:
        """Let go of the viewer."""
        self.switch(on=False)
        for emitter in self._emitters():
            emitter.disconnect(self._update)
        off_change("display", self._update)

    def _install(self) -> None:
        from napari.components.overlays import ZoomOverlay

        for key in (DOWN, ACROSS):
            if key not in self._viewer.canvas.overlays:
                self._viewer.canvas.overlays[key] = ZoomOverlay(
                    visible=False, box=False, opacity=_OPACITY
                )

    def _emitters(self) -> tuple[Any, ...]:
        viewer = self._viewer
        dims, layers, camera = viewer.dims.events, viewer.layers.events, viewer.scene.camera.events
        return (
            dims.point,
            dims.order,
            dims.ndisplay,
            dims.ndim,
            dims.range,
            layers.inserted,
            layers.removed,
            camera.center,
            camera.zoom,
            camera.orientation,
            viewer.canvas.events.size,
            viewer.canvas.grid.events.enabled,
        )

    def _update(self, _event: Any = None) -> None:
        shows = self.on and _fits(self._viewer)
        lines = lines_of(self._viewer) if shows else ()
        for key, line in zip((DOWN, ACROSS), lines, strict=False):
            self._viewer.canvas.overlays[key].position = line
        for key in (DOWN, ACROSS):
            self._viewer.canvas.overlays[key].visible = shows


def lines_of(viewer: ViewerModel) -> tuple[Line, Line]:
    """Ends of the lines (down, across) in canvas pixels (row, column) from the top left; in 2-D."""
    dims = viewer.dims
    rows, columns = dims.order[-2:]
    (top, bottom), (left, right) = _ends(viewer, rows, 0), _ends(viewer, columns, 1)
    row, column = _pixel(viewer, dims.point[rows], 0), _pixel(viewer, dims.point[columns], 1)
    return ((top, column), (bottom, column)), ((row, left), (row, right))


def _fits(viewer: ViewerModel) -> bool:
    """Whether there is one plane of the patient on the canvas."""
    flat = viewer.dims.ndisplay == 2 and viewer.dims.ndim >= 3 and not viewer.canvas.grid.enabled
    return flat and holds_our_layer(viewer) and bool(setting("display", "crosshair"))


def _ends(viewer: ViewerModel, axis: int, side: int) -> tuple[float, float]:
    """Pixels at the outer edges of the first and last voxel along a world axis."""
    low, high, step = viewer.dims.range[axis]
    return _pixel(viewer, low - step / 2, side), _pixel(viewer, high + step / 2, side)


def _pixel(viewer: ViewerModel, world: float, side: int) -> float:
    """Rows (side 0) or columns (side 1) from the top left corner of the canvas."""
    camera, size = viewer.scene.camera, viewer.canvas.size
    sign = 1 if str(camera.orientation2d[side]) == ("down", "right")[side] else -1
    return float(size[side] / 2 + sign * camera.zoom * (world - camera.center[-2:][side]))
