"""What a person's hand does to the Labels panel and the canvas, for tests with a real viewer."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from medseg_napari.panels.label_list import NAME


def tick(panel, value: int, column: int) -> None:
    """Click on a check box of the list."""
    table = panel.form.label_list
    item = table.item(table.row_of(value), column)
    table.scrollToItem(item)
    place = table.visualItemRect(item)
    box = QPoint(place.left() + 10, place.center().y())
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=box)


def choose(panel, value: int) -> None:
    """Click on the name of an organ."""
    table = panel.form.label_list
    item = table.item(table.row_of(value), NAME)
    table.scrollToItem(item)
    QTest.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(item).center()
    )


def press(panel, words: str) -> None:
    panel.form.buttons[words].click()


def type_name(panel, item, words: str) -> None:
    """Double-click a cell of the list of organs, type, and press Enter."""
    table, left = panel.form.label_list, Qt.MouseButton.LeftButton
    place = table.visualItemRect(item).center()
    QTest.mouseClick(table.viewport(), left, pos=place)
    QTest.mouseDClick(table.viewport(), left, pos=place)
    editor = table.findChild(QLineEdit)
    editor.selectAll()
    QTest.keyClicks(editor, words)
    QTest.keyClick(editor, Qt.Key.Key_Return)
    QTest.qWait(20)


def pixel_of(viewer, layer, index) -> QPoint:
    """Where a voxel lies on the canvas, in pixels of the widget."""
    world = np.asarray(layer.data_to_world(index))[list(viewer.dims.displayed)]
    camera = viewer.scene.camera
    away = (world - np.asarray(camera.center)[-2:]) * camera.zoom
    height, width = viewer.canvas.size
    return QPoint(round(away[1] + width / 2), round(away[0] + height / 2))


def drag(viewer, layer, start, end) -> None:
    """Press the left button at a voxel, move to another one, let go."""
    canvas = viewer.window._qt_viewer.canvas.native
    left, places = Qt.MouseButton.LeftButton, [pixel_of(viewer, layer, n) for n in (start, end)]
    QTest.mouseMove(canvas, places[0])
    QTest.mousePress(canvas, left, pos=places[0])
    QTest.qWait(20)
    QTest.mouseMove(canvas, (places[0] + places[1]) / 2)
    QTest.qWait(20)
    QTest.mouseMove(canvas, places[1])
    QTest.qWait(20)
    QTest.mouseRelease(canvas, left, pos=places[1])
    QTest.qWait(20)


def connections(layer, viewer) -> dict[str, int]:
    """How many callbacks each emitter has."""
    emitters = {f"layer {name}": one for name, one in layer.events.emitters.items()}
    emitters |= {f"dims {name}": one for name, one in viewer.dims.events.emitters.items()}
    emitters |= {f"layers {name}": one for name, one in viewer.layers.events.emitters.items()}
    return {name: len(one.callbacks) for name, one in emitters.items() if one is not None}
