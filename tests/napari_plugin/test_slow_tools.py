"""Tools on a large label map: the window lives on, painting goes on, and one step is undone."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtCore import QTimer

from medseg.volume import Grid, LabelMap, LabelTable
from medseg_napari.correcting import corrections, editing_commands
from medseg_napari.layers import layer_from_labels
from panel_hands import press

SHAPE = (150, 160, 160)


@pytest.fixture
def large(make_napari_viewer, tmp_path, monkeypatch):
    """A viewer with the Labels panel and an organ of 1.4 million voxels."""
    monkeypatch.setenv("MEDSEG_AUTOSAVE_DIR", str(tmp_path / "autosave"))
    viewer = make_napari_viewer(show=True)
    i, j, k = np.ogrid[tuple(slice(n) for n in SHAPE)]
    ball = (i - 75) ** 2 + (j - 80) ** 2 + (k - 80) ** 2 < 70**2
    labels = LabelMap(ball.astype(np.uint8), Grid(SHAPE, np.eye(4)), LabelTable.of({1: "organ"}))
    data, attributes, _ = layer_from_labels(labels, "organs")
    layer = viewer.add_labels(data, **attributes)
    _, panel = viewer.window.add_plugin_dock_widget("medseg", "Labels")
    assert layer.data.size > corrections.SMALL_VOXELS
    return viewer, panel, layer


def slowly(monkeypatch, name):
    """Let a tool wait until it may go on; what it waits for, to be set."""
    import threading

    go, tool = threading.Event(), corrections.TOOLS[name]

    def slow(target, choices):
        assert go.wait(20)
        return tool(target, choices)

    monkeypatch.setitem(corrections.TOOLS, name, slow)
    return go


def test_the_window_lives_while_a_tool_works_and_painting_stays(large, qtbot) -> None:
    _, panel, layer = large
    panel.form.smooth_mm.setValue(8)
    before = np.array(layer.data)
    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(10)
    press(panel, "Smooth")
    assert not panel.form.buttons["Grow"].isEnabled()
    assert not panel.form.activity.cancel.isHidden()
    layer.data_setitem((np.array([3]), np.array([4]), np.array([5])), 1)
    qtbot.waitUntil(lambda: "smoothed by 8 mm" in panel.form.message.text(), timeout=60_000)
    timer.stop()
    assert len(ticks) >= 3
    assert panel.form.buttons["Grow"].isEnabled()
    assert layer.data[3, 4, 5] == 1
    assert (layer.data != before).sum() > 1
    layer.undo()
    assert (layer.data != before).sum() == 1


def test_cancel_and_a_closed_layer_leave_nothing(large, qtbot, monkeypatch) -> None:
    viewer, panel, layer = large
    before = np.array(layer.data)
    go = slowly(monkeypatch, "Fill holes")
    press(panel, "Fill holes")
    panel.form.activity.cancel.click()
    qtbot.waitUntil(lambda: not panel.form.activity.busy, timeout=10_000)
    assert panel.form.activity.message.text() == "stopped"
    go.set()
    assert np.array_equal(layer.data, before)
    go.clear()
    press(panel, "Fill holes")
    viewer.layers.clear()
    go.set()
    qtbot.waitUntil(lambda: not panel.form.activity.busy, timeout=10_000)
    assert not viewer.layers


def test_an_error_is_told_and_a_command_works_the_same_way(large, qtbot) -> None:
    viewer, panel, layer = large
    press(panel, "Grow")
    qtbot.waitUntil(lambda: "no scan lies under" in panel.form.message.text(), timeout=20_000)
    assert panel.form.buttons["Grow"].isEnabled()
    layer.data_setitem(tuple(np.array([n]) for n in (1, 1, 1)), 1)
    viewer.layers.selection.active = layer
    assert editing_commands.correct(viewer, "Largest piece") == "Largest piece: at work"
    qtbot.waitUntil(lambda: layer.data[1, 1, 1] == 0, timeout=20_000)
