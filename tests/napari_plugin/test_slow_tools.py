"""Tools on large label maps: at work in a thread, put into the layer as one step."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest

from medseg.editing import smooth
from medseg_napari.editing import commands, label_tables, operations
from medseg_napari.editing.operations import SMALL_VOXELS, TOOLS, Correction
from medseg_napari.editing.targets import rules_of
from medseg_napari.panels.dock import open_tab

SHAPE = (60, 200, 200)


@pytest.fixture
def large(make_napari_viewer, qtbot, tmp_path, monkeypatch):
    """A viewer with the Labels panel, and a large label map of a rough ball, chosen."""
    viewer = make_napari_viewer(show=True)
    panel = open_tab(viewer, "Labels")
    layer = viewer.add_labels(rough_ball(SHAPE, 26), name="ball")
    assert layer.data.size > SMALL_VOXELS
    layer.selected_label = 1
    return viewer, panel, layer


@pytest.fixture
def gate(monkeypatch):
    """Smoothing that has found what to change and hands it on when the test says so."""
    begun, may_end, threads = threading.Event(), threading.Event(), []
    tool = TOOLS["Smooth"]

    def gated(target, choices) -> Correction:
        threads.append(threading.current_thread())
        found = tool(target, choices)
        begun.set()
        assert may_end.wait(20)
        return found

    monkeypatch.setitem(TOOLS, "Smooth", gated)
    yield begun, may_end, threads
    may_end.set()


def rough_ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    i, p, el = np.ogrid[tuple(slice(-n / 2, n / 2) for n in shape)]
    ball = (i**2 + p**2 + el**2 < radius**2).astype(np.uint8)
    return ball & (np.random.default_rng(0).random(shape) < 0.9)


def click(panel, words: str) -> None:
    QTest.mouseClick(panel.form.buttons[words], Qt.MouseButton.LeftButton)


def smoothed(layer, strength_mm: float = 2.0) -> np.ndarray:
    """What smoothing makes of a layer as it is."""
    values = np.array(layer.data)
    rules, mm = rules_of(layer), (1, 1, 1)
    edit = smooth(values, 1, sigma_mm=strength_mm, spacing_mm=mm, rules=rules, keep_volume=True)
    values[edit.where] = edit.values
    return values


def begin(panel, begun, qtbot) -> None:
    panel.form.smooth_mm.setValue(2.0)
    click(panel, "Smooth")
    qtbot.waitUntil(begun.is_set, timeout=5000)


def finish(panel, may_end, qtbot) -> None:
    may_end.set()
    qtbot.waitUntil(lambda: not panel.form.job.busy, timeout=20_000)


def test_the_window_lives_on_and_strokes_stay_while_a_tool_works(large, gate, qtbot) -> None:
    viewer, panel, layer = large
    begun, may_end, threads = gate
    expected = smoothed(layer)
    changes = np.argwhere(expected != layer.data)
    begin(panel, begun, qtbot)
    assert threads[0] is not threading.main_thread()
    ticks: list[bool] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(panel.form.job.busy))
    timer.start(5)
    qtbot.waitUntil(lambda: panel.form.job.message.text() == "smoothing ...", timeout=5000)
    qtbot.waitUntil(lambda: ticks.count(True) >= 5, timeout=5000)
    assert not any(panel.form.buttons[words].isEnabled() for words in operations.PROGRESS_TEXTS)
    assert panel.form.job.cancel.isVisible()
    place = tuple(np.array([n]) for n in changes[len(changes) // 2])
    layer.data_setitem(place, 9)
    label_tables.adopt_layer(layer, viewer.layers, [1, 9])
    label_tables.set_locked(layer, 9, locked=True)
    painted = np.array(layer.data)
    finish(panel, may_end, qtbot)
    timer.stop()
    expected[place] = 9
    assert np.array_equal(layer.data, expected)
    assert "1 that you painted or locked meanwhile stay" in panel.form.job.message.text()
    assert all(panel.form.buttons[words].isEnabled() for words in operations.PROGRESS_TEXTS)
    layer.undo()
    assert np.array_equal(layer.data, painted)
    layer.redo()
    assert np.array_equal(layer.data, expected)


def test_real_smoothing_leaves_time_for_the_window(large, qtbot) -> None:
    viewer, panel, _ = large
    layer = viewer.add_labels(rough_ball((200, 256, 256), 90), name="larger ball")
    panel.form.layers.choose(layer)
    layer.selected_label = 1
    before, expected = np.array(layer.data), smoothed(layer)
    ticks: list[int] = []
    timer = QTimer()
    timer.timeout.connect(lambda: panel.form.job.busy and ticks.append(1))
    timer.start(5)
    panel.form.smooth_mm.setValue(2.0)
    click(panel, "Smooth")
    assert panel.form.job.busy
    assert np.array_equal(layer.data, before), "nothing is changed before the thread has ended"
    qtbot.waitUntil(lambda: not panel.form.job.busy, timeout=60_000)
    timer.stop()
    assert ticks, "the window went on meanwhile"
    assert np.array_equal(layer.data, expected)
    layer.undo()
    assert np.array_equal(layer.data, before)


def test_cancel_and_a_closed_layer_throw_the_result_away(large, gate, qtbot) -> None:
    viewer, panel, layer = large
    begun, may_end, threads = gate
    before = np.array(layer.data)
    begin(panel, begun, qtbot)
    QTest.mouseClick(panel.form.job.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not panel.form.job.busy, timeout=3000)
    finish(panel, may_end, qtbot)
    qtbot.waitUntil(lambda: not threads[0].is_alive(), timeout=10_000)
    qtbot.wait(50)
    assert np.array_equal(layer.data, before)
    begun.clear()
    may_end.clear()
    begin(panel, begun, qtbot)
    viewer.layers.remove(layer)
    finish(panel, may_end, qtbot)
    assert "closed before the tool had ended" in panel.form.job.message.text()
    assert np.array_equal(layer.data, before)


@pytest.mark.parametrize(
    ("error", "words"),
    [(RuntimeError("boom"), "stopped with RuntimeError: boom"), (MemoryError(), "out of memory")],
)
def test_an_error_in_the_thread_is_told(large, monkeypatch, qtbot, error, words) -> None:
    _, panel, layer = large
    before = np.array(layer.data)

    def broken(_target, _choices) -> Correction:
        raise error

    monkeypatch.setitem(TOOLS, "Smooth", broken)
    click(panel, "Smooth")
    qtbot.waitUntil(lambda: not panel.form.job.busy, timeout=5000)
    assert words in panel.form.job.message.text()
    assert panel.form.buttons["Smooth"].isEnabled()
    shown: list[str] = []
    monkeypatch.setattr(commands, "_warn", lambda said: shown.append(said) or said)
    assert commands.correct(viewer_with(large), "Smooth") == "smoothing ..."
    qtbot.waitUntil(lambda: bool(shown) and layer not in commands._runners, timeout=5000)
    assert words in shown[0]
    assert np.array_equal(layer.data, before)


def viewer_with(large):
    viewer, _, layer = large
    viewer.layers.selection.active = layer
    return viewer


def test_an_organ_is_cut_in_a_thread_and_no_points_wait_meanwhile(large, gate, qtbot) -> None:
    _, panel, layer = large
    begun, may_end, _ = gate
    before = np.array(layer.data)
    click(panel, "Cut at two points")
    picking = panel.tools._picker
    assert picking is not None
    begin(panel, begun, qtbot)
    assert panel.tools._picker is None
    assert not panel.form.buttons["Cut at two points"].isChecked()
    finish(panel, may_end, qtbot)
    layer.undo()
    seeds = [tuple(int(n) for n in np.argwhere(before)[at]) for at in (0, -1)]
    panel.tools._cut(panel.tools._target(), seeds)
    assert panel.form.job.busy
    assert np.array_equal(layer.data, before)
    qtbot.waitUntil(lambda: not panel.form.job.busy, timeout=20_000)
    assert [int(layer.data[at]) for at in seeds] == [1, 2]
    assert np.array_equal(layer.data > 0, before > 0)
    layer.undo()
    assert np.array_equal(layer.data, before)


@pytest.mark.parametrize("meanwhile", ["locked", "removed"])
def test_an_organ_that_was_locked_or_removed_meanwhile_is_left(
    large, gate, qtbot, meanwhile
) -> None:
    _, panel, layer = large
    begun, may_end, _ = gate
    begin(panel, begun, qtbot)
    if meanwhile == "locked":
        label_tables.set_locked(layer, 1, locked=True)
    else:
        label_tables.remove_label(layer, 1)
    now = np.array(layer.data)
    finish(panel, may_end, qtbot)
    assert f"was {meanwhile} while the tool worked" in panel.form.job.message.text()
    assert np.array_equal(layer.data, now)


def test_a_command_works_in_a_thread_too(large, gate, qtbot) -> None:
    viewer, _, layer = viewer_with(large), *large[1:]
    begun, may_end, threads = gate
    before, expected = np.array(layer.data), smoothed(layer, 1.0)
    assert commands.correct(viewer, "Smooth") == "smoothing ..."
    qtbot.waitUntil(begun.is_set, timeout=5000)
    assert threads[0] is not threading.main_thread()
    assert "is at work; wait for it" in commands.correct(viewer, "Fill holes")
    assert np.array_equal(layer.data, before)
    may_end.set()
    qtbot.waitUntil(lambda: layer not in commands._runners, timeout=20_000)
    assert np.array_equal(layer.data, expected)
    layer.undo()
    assert np.array_equal(layer.data, before)

    begun.clear()
    may_end.clear()
    commands.smooth(viewer)
    qtbot.waitUntil(begun.is_set, timeout=5000)
    viewer.layers.remove(layer)
    may_end.set()
    qtbot.waitUntil(lambda: layer not in commands._runners, timeout=20_000)
    assert np.array_equal(layer.data, before)
