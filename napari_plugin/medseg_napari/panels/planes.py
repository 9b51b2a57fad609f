"""The Planes panel: the two planes that the canvas does not show, linked to it by a crosshair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRectF, Qt, Signal
from qtpy.QtGui import QColor, QFont, QImage, QPainter, QPen
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from medseg_napari.display import setup
from medseg_napari.display.commands import PLANES
from medseg_napari.display.crosshair import Crosshair
from medseg_napari.display.mouse import is_drawing, step_point
from medseg_napari.display.orthogonal_views import PlanePicture, other_planes, picture_of
from medseg_napari.panels.form_parts import pause_timer, wrapped_label

if TYPE_CHECKING:
    import napari.viewer

_REDRAW_MS = 15
_CROSS = QColor(80, 200, 255, 200)
_LETTER = QColor(255, 217, 77)
_MARGIN = 16


class PlaneCanvas(QWidget):  # type: ignore[misc]
    """One plane in its true proportions, with letters and the crosshair."""

    pointed = Signal(object)
    turned = Signal(str, int)

    def __init__(self) -> None:
        super().__init__()
        self.picture: PlanePicture | None = None
        self.setMinimumSize(300, 160)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def show_picture(self, picture: PlanePicture | None) -> None:
        """Draw another picture."""
        self.picture = picture
        self.setToolTip(f"{picture.plane}: click to go there" if picture else "")
        self.update()

    def area(self) -> QRectF:
        """Where the picture lies in the widget, in pixels."""
        if self.picture is None:
            return QRectF()
        height_mm, width_mm = self.picture.size_mm
        room = self.rect().adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        factor = min(room.width() / width_mm, room.height() / height_mm)
        area = QRectF(0, 0, width_mm * factor, height_mm * factor)
        area.moveCenter(QRectF(room).center())
        return area

    def paintEvent(self, _event: Any) -> None:  # noqa: N802 - Qt's name
        """Draw picture, crosshair and letters."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(0, 0, 0))
        if self.picture is not None:
            rows, columns, _ = self.picture.pixels.shape
            data = self.picture.pixels.data
            image = QImage(data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
            area = self.area()
            painter.setRenderHint(
                QPainter.RenderHint.SmoothPixmapTransform, area.height() < rows
            )  # magnified voxels stay square
            painter.drawImage(area, image)
            self._draw_cross(painter)
            self._draw_letters(painter)
        painter.end()

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Go to the place that is clicked."""
        self._point(event)

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Follow a drag."""
        self._point(event)

    def wheelEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Step through the slices of this plane."""
        down = event.angleDelta().y()
        if self.picture is not None and down:
            self.turned.emit(self.picture.plane, -1 if down > 0 else 1)
        event.accept()

    def _point(self, event: Any) -> None:
        if self.picture is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        area, at = self.area(), event.position()
        down = min(max((at.y() - area.top()) / area.height(), 0.0), 1.0)
        right = min(max((at.x() - area.left()) / area.width(), 0.0), 1.0)
        self.pointed.emit(self.picture.point_at(down, right))

    def _draw_cross(self, painter: QPainter) -> None:
        assert self.picture is not None
        area = self.area()
        down, right = self.picture.cross
        painter.setPen(QPen(_CROSS, 1))
        y, x = int(area.top() + down * area.height()), int(area.left() + right * area.width())
        painter.drawLine(int(area.left()), y, int(area.right()), y)
        painter.drawLine(x, int(area.top()), x, int(area.bottom()))

    def _draw_letters(self, painter: QPainter) -> None:
        assert self.picture is not None
        painter.setPen(_LETTER)
        painter.setFont(QFont(self.font().family(), 11))
        align = Qt.AlignmentFlag
        sides = (
            align.AlignTop | align.AlignHCenter,
            align.AlignBottom | align.AlignHCenter,
            align.AlignLeft | align.AlignVCenter,
            align.AlignRight | align.AlignVCenter,
        )
        for letter, side in zip(self.picture.letters, sides, strict=True):
            painter.drawText(self.rect().adjusted(2, 0, -2, 0), side, letter)


class PlanesPanel(QWidget):  # type: ignore[misc]
    """Shows the planes beside the one on the canvas, and keeps all of them at one point."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.canvases = (PlaneCanvas(), PlaneCanvas())
        self.titles = (QLabel(), QLabel())
        self.hint = wrapped_label("Click in a plane, or Shift-click on the canvas, to go there.")
        self._timer = pause_timer(self, _REDRAW_MS, self.redraw)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._lay_out()
        setup.install(viewer)
        self.crosshair = Crosshair(viewer)
        self._listening: list[Any] = []
        self._follow_viewer()
        self.redraw()

    def redraw(self) -> None:
        """Draw both planes anew."""
        planes = [*other_planes(self.viewer), "", ""]
        for canvas, title, plane in zip(self.canvases, self.titles, planes, strict=False):
            canvas.show_picture(picture_of(self.viewer, plane) if plane else None)
            title.setText(plane.title())

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Catch up with what happened while the panel was hidden."""
        super().showEvent(event)
        self.crosshair.switch(on=True)
        self._schedule_redraw()

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Take the crosshair off the canvas."""
        super().hideEvent(event)
        self.crosshair.switch(on=False)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Let go of the viewer."""
        self._timer.stop()
        self.crosshair.close()
        for emitter in self._emitters():
            emitter.disconnect(self._schedule_redraw)
        for layer in self._listening:
            self._listen(layer, connect=False)
        self._listening = []
        if self._on_canvas_press in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_canvas_press)
        super().closeEvent(event)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(2)
        for title, canvas in zip(self.titles, self.canvases, strict=True):
            column.addWidget(title)
            column.addWidget(canvas, 1)
            canvas.pointed.connect(lambda world: step_point(self.viewer, world))
            canvas.turned.connect(self._turn)
        column.addWidget(self.hint)

    def _emitters(self) -> tuple[Any, ...]:
        dims, layers = self.viewer.dims.events, self.viewer.layers.events
        camera = self.viewer.scene.camera.events
        return (
            dims.point,
            dims.order,
            dims.ndisplay,
            dims.ndim,
            layers.inserted,
            layers.removed,
            layers.reordered,
            camera.orientation,
        )

    def _follow_viewer(self) -> None:
        for emitter in self._emitters():
            emitter.connect(self._schedule_redraw)
        self.viewer.mouse_drag_callbacks.append(self._on_canvas_press)
        self._schedule_redraw()

    def _schedule_redraw(self, _event: Any = None) -> None:
        """Redraw after the events of this moment; hear of new layers."""
        for layer in self.viewer.layers:
            if all(layer is not other for other in self._listening):
                self._listening.append(layer)
                self._listen(layer, connect=True)
        self._listening = [i for i in self._listening if i in self.viewer.layers]
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def _listen(self, layer: Any, *, connect: bool) -> None:
        names = ("set_data", "visible", "opacity", "contrast_limits", "colormap", "labels_update")
        for name in names:
            emitter = getattr(layer.events, name, None)
            if emitter is not None:
                (emitter.connect if connect else emitter.disconnect)(self._schedule_redraw)

    def _turn(self, plane: str, slices: int) -> None:
        dims = self.viewer.dims
        axis = dims.ndim - 3 + PLANES[plane][0]
        dims.set_current_step(axis, dims.current_step[axis] + slices)

    def _on_canvas_press(self, viewer: Any, event: Any) -> Any:
        """Shift-click (and drag) on the canvas moves the point."""
        if event.button != 1 or tuple(event.modifiers) != ("Shift",) or is_drawing(viewer):
            return
        while True:
            event.handled = True
            step_point(viewer, dict(enumerate(event.position[-3:])))
            yield
            if event.type != "mouse_move":
                return
