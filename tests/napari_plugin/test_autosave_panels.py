"""Autosave through the panels: one keeper for a viewer, whichever panel comes first."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from medseg.runtime.progress import silent
from medseg_napari.editing.autosave import FOLDER_VARIABLE, Session, recoverable_sessions
from medseg_napari.editing.label_tables import table_of
from medseg_napari.editing.restore import add, prepare
from medseg_napari.editing.saved_layers import snapshot
from medseg_napari.inference.run import Runner
from medseg_napari.panels import autosave
from medseg_napari.panels.autosave import AutosaveTimer, autosave_of
from medseg_napari.panels.dock import DOCK, open_tab
from medseg_napari.panels.label_list import NAME
from medseg_napari.reader import layers_of_path
from medseg_napari.run_record import runs_of

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """Where autosave keeps; new layers alone start no round, so that each test says what does."""
    folder = tmp_path / "autosave"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(autosave, "_AFTER_CHANGE_MS", 3_600_000)
    return folder


@pytest.fixture
def labelled(hippocampus) -> Path:
    return hippocampus.parents[1] / "labels" / hippocampus.name


@pytest.fixture
def open_viewer(make_napari_viewer):
    def _open(*paths):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1200, 900)
        for path in paths:
            viewer.open(str(path), plugin="medseg")
        return viewer

    return _open


def dock(viewer, name: str):
    """A panel as people open it."""
    return open_tab(viewer, name)


def close_dock(viewer) -> None:
    """Close the dock with all its tabs."""
    widget = viewer.window.dock_widgets[f"{DOCK} (medseg)"]
    viewer.window.remove_dock_widget(widget)
    widget.close()


def save_round(timer: AutosaveTimer, qtbot) -> None:
    with qtbot.waitSignal(timer.saved, timeout=10_000) as told:
        timer.save()
    assert told.args == [""]


def run(panel, qtbot, *, layers: int) -> None:
    with qtbot.waitSignal(panel.autosave.saved, timeout=30_000):
        qtbot.mouseClick(panel.form.run, LEFT)
    assert panel.form.run.isEnabled()
    assert len(panel.viewer.layers) == layers


def crashed(root: Path, *paths: Path) -> None:
    """What a session with a scan and changed labels leaves behind."""
    viewer = ViewerModel()
    scan, labels = (layers_of_path(path)[0] for path in paths)
    viewer.add_layer(Layer.create(*scan))
    layer = viewer.add_layer(Layer.create(*labels))
    layer.data[:6, :6, :6] = 1
    session = Session(root)
    session.save([snapshot(layer, viewer.layers)])
    session.close()


def closed(viewer, qtbot, root: Path):
    """Close the window; what the session kept, once its lock is let go of."""
    viewer.close()
    qtbot.waitUntil(lambda: len(recoverable_sessions(root)) == 1, timeout=10_000)
    return recoverable_sessions(root)[0]


def test_each_run_is_kept_at_once_though_no_labels_panel_is_open(
    open_viewer, qtbot, hippocampus, package, halves, root
) -> None:
    viewer = open_viewer(hippocampus)
    panel = dock(viewer, "Segment")
    panel.runner = Runner(load=lambda _request: halves())
    panel.form.model.offer(package)
    panel.form.model.setCurrentIndex(panel.form.model.count() - 1)
    assert not root.exists()
    run(panel, qtbot, layers=2)
    first = list(root.glob("*/*.nii.gz"))
    assert len(first) == 1

    labels = viewer.layers[1]
    labels.data[0:6, :6, :6] = 2
    panel.form.target.choose(labels)
    panel.form.rule.setCurrentIndex(panel.form.rule.findData("keep_edits"))
    run(panel, qtbot, layers=2)
    assert len(list(root.iterdir())) == 1
    assert list(root.glob("*/*.nii.gz")) != first, "the merge is kept too"
    truth, table = np.array(labels.data), table_of(labels)
    runs = runs_of({"metadata": labels.metadata})
    del labels
    kept = closed(viewer, qtbot, root)
    (restored,) = add(ViewerModel(), prepare(kept, [], silent))
    assert np.array_equal(restored.data, truth)
    assert len(runs) == 2
    restored_runs = runs_of({"metadata": restored.metadata})
    assert restored_runs == runs, "a restored result is no drawing"
    assert table_of(restored) == table


def test_names_colours_and_codes_are_kept_without_a_painted_voxel(
    open_viewer, qtbot, hippocampus, labelled, root, tmp_path, save_picture
) -> None:
    viewer = open_viewer(hippocampus, labelled)
    panel, layer = dock(viewer, "Labels"), viewer.layers[1]
    save_round(panel.autosave, qtbot)
    assert not root.exists(), "names that medseg gave by itself are no work of the person's"

    table = panel.form.label_list
    table.item(table.row_of(1), NAME).setText("head")
    save_round(panel.autosave, qtbot)
    assert len(list(root.glob("*/*.nii.gz"))) == 1
    layer.save(str(tmp_path / "saved.nii.gz"), plugin="medseg")
    save_round(panel.autosave, qtbot)
    assert list(root.iterdir()) == [], "the name lies in the file"

    panel.ask_color = lambda _old: QColor(10, 200, 30)
    table.select(1)
    qtbot.mouseClick(panel.form.buttons["Colour..."], LEFT)
    save_round(panel.autosave, qtbot)
    assert len(list(root.glob("*/*.nii.gz"))) == 1
    truth = np.array(layer.data)
    del layer
    closed(viewer, qtbot, root)

    fresh = open_viewer()
    study = dock(fresh, "Study")
    bar = study.restore
    qtbot.waitUntil(bar.isVisible, timeout=5_000)
    save_picture(fresh, "restore-bar-study.png")
    qtbot.mouseClick(bar.restore, LEFT)
    qtbot.waitUntil(lambda: len(fresh.layers) == 2, timeout=20_000)
    restored = fresh.layers[1]
    assert np.array_equal(restored.data, truth)
    organ = next(one for one in table_of(restored) if one.value == 1)
    assert (organ.name, organ.color) == ("head", (10, 200, 30))
    assert bar.isHidden()
    assert "1 label map(s) restored" in study.form.job.message.text()
    session = study.autosave.session.folder
    qtbot.waitUntil(lambda: list(root.iterdir()) == [session], timeout=10_000)


@pytest.mark.parametrize("answer", ["restore", "discard"])
def test_an_answer_in_one_panel_is_an_answer_in_all(
    open_viewer, qtbot, hippocampus, labelled, root, answer, save_picture
) -> None:
    crashed(root, hippocampus, labelled)
    viewer = open_viewer()
    last = "Segment" if answer == "restore" else "Labels"
    names = [*sorted({"Labels", "Segment", "Study"} - {last}), last]
    panels = [dock(viewer, name) for name in names]
    bars = [panel.restore for panel in panels]
    assert not any(bar.isHidden() for bar in bars)
    assert len({id(panel.autosave) for panel in panels}) == 1
    bar = bars[-1]
    qtbot.waitUntil(bar.isVisible, timeout=5_000)
    save_picture(viewer, f"restore-bar-{last.lower()}.png")
    qtbot.mouseClick(getattr(bar, answer), LEFT)
    assert bars[0].isHidden(), "also while it is being restored"
    assert bars[1].isHidden()
    wanted = 2 if answer == "restore" else 0
    qtbot.waitUntil(lambda: len(viewer.layers) == wanted, timeout=20_000)
    qtbot.waitUntil(bar.isHidden, timeout=5_000)
    assert all(one.isHidden() for one in bars)
    qtbot.waitUntil(lambda: recoverable_sessions(root) == [], timeout=10_000)
    del bar, bars, panels
    close_dock(viewer)
    assert dock(viewer, names[0]).restore.isHidden()


def test_restoring_that_is_stopped_is_offered_again(
    open_viewer, qtbot, hippocampus, labelled, root, monkeypatch
) -> None:
    from medseg_napari.editing import restore

    def endless(_session, _known, progress) -> None:
        while True:
            progress(0, 1, "restoring labels")

    monkeypatch.setattr(restore, "prepare", endless)
    crashed(root, hippocampus, labelled)
    viewer = open_viewer()
    study, segment = dock(viewer, "Study").restore, dock(viewer, "Segment").restore
    qtbot.mouseClick(segment.restore, LEFT)
    assert study.isHidden()
    qtbot.mouseClick(segment.job.cancel, LEFT)
    qtbot.waitUntil(lambda: not segment.job.busy, timeout=5_000)
    assert not study.isHidden()
    assert not segment.isHidden()
    assert segment.restore.isEnabled()
    assert len(recoverable_sessions(root)) == 1


def test_two_panels_keep_one_session_that_outlives_them(
    open_viewer, qtbot, hippocampus, root
) -> None:
    viewer = open_viewer(hippocampus)
    first, second = dock(viewer, "Labels"), dock(viewer, "Segment")
    timer = autosave_of(viewer)
    assert first.autosave is second.autosave is timer
    qtbot.mouseClick(first.form.buttons["New labels"], LEFT)
    labels = viewer.layers[1]
    labels.data[0:6, :6, :6] = 1
    close_dock(viewer)
    del first, second
    gc.collect()
    rounds = []
    timer.saved.connect(rounds.append)
    timer.save()
    labels.data[8:12, :6, :6] = 1
    timer.save()
    qtbot.waitUntil(lambda: rounds == ["", ""], timeout=10_000)
    assert len(list(root.iterdir())) == 1
    assert recoverable_sessions(root) == [], "its window is open"
    truth = np.array(labels.data)
    del labels
    kept = closed(viewer, qtbot, root)
    (restored,) = add(ViewerModel(), prepare(kept, [], silent))
    assert np.array_equal(restored.data, truth), "the second round was not dropped"


@pytest.mark.parametrize("name", ["Study", "Segment", "Labels", "Train", "Review"])
def test_the_first_panel_starts_autosave_and_keeps_no_viewer_alive(
    open_viewer, qtbot, root, name
) -> None:
    viewer = open_viewer()
    dock(viewer, name)
    viewer.add_labels(np.ones((3, 4, 5), np.uint8), name="ones")
    save_round(autosave_of(viewer), qtbot)
    assert len(list(root.glob("*/*.nii.gz"))) == 1
    closed(viewer, qtbot, root)
    gone = weakref.ref(viewer)
    assert viewer not in autosave._timers
    del viewer

    def collected() -> bool:
        gc.collect()
        return gone() is None

    qtbot.waitUntil(collected, timeout=10_000)


def test_label_maps_that_were_only_opened_are_not_kept(open_viewer, qtbot, labelled, root) -> None:
    viewer = open_viewer()
    study = dock(viewer, "Study")
    study.open_study(labelled)
    qtbot.waitUntil(lambda: not study.form.job.busy, timeout=20_000)
    qtbot.mouseClick(study.form.open, LEFT)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=20_000)
    viewer.open_sample("medseg", "abdomen")
    save_round(study.autosave, qtbot)
    assert not root.exists()
