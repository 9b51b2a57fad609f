"""One dock: tabs under a header that follows napari's layer list, on a small screen."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractItemView, QApplication, QPushButton

from medseg_napari.display import commands
from medseg_napari.editing import commands as corrections
from medseg_napari.editing.active_layers import active_layers_of
from medseg_napari.editing.targets import Target
from medseg_napari.panels.dock import DOCK, TABS, open_tab
from medseg_napari.panels.looks import _CONTROLS
from panel_hands import drag, press

LEFT = Qt.MouseButton.LeftButton
PRIMARY = {
    "Study": "Open series",
    "Segment": "Run",
    "Review": "Compare",
    "Train": "Add to dataset",
    "Export": "Export",
}
SMALL_SCREEN = (1366, 768)


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(*SMALL_SCREEN)
    return viewer


def dock_of(viewer):
    return viewer.window.dock_widgets[f"{DOCK} (medseg)"]


def click_tab(dock, name: str) -> None:
    bar = dock.tabs.tabBar()
    QTest.mouseClick(bar, LEFT, pos=bar.tabRect(list(TABS).index(name)).center())
    QTest.qWait(20)


def test_every_menu_entry_opens_the_one_dock_on_its_tab(window, qtbot, save_picture) -> None:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    for name in TABS:
        manager.commands.execute(f"medseg.{name.lower()}", args=(window,))
        dock = dock_of(window)
        assert dock.tabs.tabText(dock.tabs.currentIndex()) == name
        assert type(dock.panels[name]).__name__ == f"{name}Panel"
    assert [one for one in window.window.dock_widgets if "medseg" in one] == [f"{DOCK} (medseg)"]
    click_tab(dock, "Labels")
    assert dock.panels["Labels"].isVisible()
    save_picture(window, "dock-labels.png")


def test_on_a_small_screen_each_tab_shows_its_button_and_its_message(window, qtbot) -> None:
    window.open_sample("medseg", "abdomen")
    open_tab(window, "Study")
    dock = dock_of(window)
    lines = set()
    for name in TABS:
        click_tab(dock, name)
        dock.show_message(f"hello from {name}", "warning")
        QTest.qWait(50)
        panel = dock.panels[name]
        message = panel.job.message
        assert message.text().endswith(f"hello from {name}")
        parts = [message]
        if name in PRIMARY:
            texts = {button.text(): button for button in panel.findChildren(QPushButton)}
            parts.append(texts[PRIMARY[name]])
        for part in parts:
            corner = part.mapTo(dock, QPoint(part.width(), part.height()))
            assert not part.visibleRegion().isEmpty(), (name, part)
            assert corner.x() <= dock.width(), (name, part)
            assert corner.y() <= dock.height(), (name, part)
        bottom = message.mapTo(dock, QPoint(0, message.height())).y()
        lines.add(bottom)
    assert dock.height() <= SMALL_SCREEN[1]
    assert max(lines) - min(lines) <= 12, "messages stand in one place"


def test_header_panels_and_commands_work_on_the_layer_that_the_list_says(
    window, hippocampus, qtbot
) -> None:
    (scan,) = window.open(str(hippocampus), plugin="medseg")
    maps = []
    panel = open_tab(window, "Labels")
    for name in ("first", "second"):
        press(panel, "New labels")
        maps.append(window.layers[-1])
        maps[-1].name = name
        maps[-1].data[10:14, 10:20, 10:20] = 1
        maps[-1].data[11, 12, 12] = 0
    first, second = maps
    header = panel.header
    assert header.labels.currentText() == "second"
    window.layers.selection.active = first
    assert header.labels.layer() is first
    assert panel._layer is first
    window.layers.selection.active = scan
    assert header.labels.layer() is first, "a click on the scan, to set its window, changes nothing"
    corrections.fill_holes(window)
    assert (first.data[11, 12, 12], second.data[11, 12, 12]) == (1, 0)
    header.labels.setFocus()
    QTest.keyClick(header.labels, Qt.Key.Key_Down)
    assert window.layers.selection.active is second, "the list follows the header too"
    press(panel, "Fill holes")
    assert second.data[11, 12, 12] == 1
    press(panel, "Undo")
    assert (first.data[11, 12, 12], second.data[11, 12, 12]) == (1, 0)
    for name in ("Export", "Train", "Review"):
        open_tab(window, name)
    panels = dock_of(window).panels
    assert panels["Export"].form.labels.layer() is second
    assert panels["Train"].cases.labels.layer() is second
    assert panels["Review"].form.first.layer() is second
    window.layers.remove(second)
    assert header.labels.layer() is first
    window.add_image(np.zeros((5, 6, 7)), name="another scan")
    active = active_layers_of(window)
    assert (active.scan.name, active.labels) == ("another scan", None), "strokes would go elsewhere"


def test_paint_makes_labels_and_says_which_rule_stopped_a_stroke(window, hippocampus) -> None:
    window.open(str(hippocampus), plugin="medseg")
    panel = open_tab(window, "Labels")
    commands.axial(window)
    QTest.mouseClick(panel.form.buttons["Paint"], LEFT)
    layer = window.layers[1]
    assert panel.form.buttons["Paint"].isChecked()
    at = [n // 2 for n in layer.data.shape]
    window.dims.set_current_step(0, at[0])
    QTest.qWait(50)
    drag(window, layer, at, at)
    assert (layer.data == 1).any()
    press(panel, "Add")
    before = np.array(layer.data)
    panel.form.radius.setValue(1.0)
    drag(window, layer, at, at)
    assert np.array_equal(layer.data, before)
    assert "label 1 is here; tick 'Over other organs'" in panel.form.job.message.text()


def test_tab_leaves_every_list_and_every_control_has_a_name_and_its_key(window, qtbot) -> None:
    open_tab(window, "Study")
    dock = dock_of(window)
    for name in TABS:
        click_tab(dock, name)
    for widget in dock.findChildren(QAbstractItemView):
        if hasattr(widget, "tabKeyNavigation"):
            assert not widget.tabKeyNavigation(), widget
    controls = dock.findChildren(_CONTROLS[0]) + dock.findChildren(_CONTROLS[4])
    unnamed = [one for one in controls if not one.accessibleName() and one.isVisibleTo(dock)]
    assert unnamed == []
    tips = " ".join(button.toolTip() for button in dock.header.findChildren(QPushButton))
    for key in ("Alt-6", "Alt-7", "Alt-8", "Alt-9", "Ctrl+S"):
        assert key in tips
    click_tab(dock, "Labels")
    button = dock.panels["Labels"].form.buttons["Add"]
    QApplication.setActiveWindow(window.window._qt_window)
    plain = button.grab().toImage()
    button.setFocus()
    QTest.qWait(20)
    assert QApplication.focusWidget() is button
    assert button.grab().toImage() != plain, "the focus is seen"


def test_a_tool_keeps_nothing_of_what_it_worked_on(window, qtbot) -> None:
    panel = open_tab(window, "Labels")
    values = np.zeros((40, 260, 260), np.uint8)
    values[10:20, 50:90, 50:90] = 1
    layer = window.add_labels(values, name="large")
    layer.selected_label = 1
    for words in ("Fill holes", "Largest piece") * 3:
        press(panel, words)
        qtbot.waitUntil(lambda: not panel.form.job.busy)
        assert "nothing to change" in panel.form.job.message.text()
        corrections.fill_holes(window)
        qtbot.waitUntil(lambda: layer not in corrections._runners)
    qtbot.wait(20)
    gc.collect()
    targets = [thing for thing in gc.get_objects() if isinstance(thing, Target)]
    assert len([target for target in targets if target.frozen is not None]) == 0


QUITTING = """
    import sys
    import napari, npe2
    from pathlib import Path
    from qtpy.QtCore import QTimer
    import medseg_napari, torch
    from medseg_napari.panels.dock import open_tab
    manager = npe2.PluginManager.instance()
    if "medseg" not in manager:
        manager.register(npe2.PluginManifest.from_file(
            Path(medseg_napari.__file__).parent / "napari.yaml"))
    viewer = napari.Viewer(show=True)
    viewer.open_sample("medseg", "abdomen")
    panel = open_tab(viewer, "Segment")
    steps = []

    def work(progress):
        weights = torch.rand(400, 400)
        while True:
            weights = (weights @ weights).tanh()
            steps.append(1)
            progress(len(steps), 10**9, "tile")

    panel.form.job.start(work, print)

    def leave():
        assert steps and panel.form.job.busy
        panel.autosave.guard.ask = lambda unsaved, runs: print(runs, flush=True) or "keep"
        from napari.settings import get_settings
        get_settings().application.confirm_close_window = False
        viewer.window._qt_window.close(quit_app=True, confirm_need=True)

    QTimer.singleShot(500, leave)
    napari.run()
"""


def test_quitting_during_a_run_asks_and_ends_cleanly(qapp, tmp_path) -> None:
    script = tmp_path / "quit.py"
    script.write_text(textwrap.dedent(QUITTING))
    paths = os.pathsep.join(dict.fromkeys(sys.path))
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert "a run of the Segment tab" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
