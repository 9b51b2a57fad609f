"""Nothing is invented and nothing is lost: orientation, label maps, runs, in a real viewer."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox

from medseg.reading import read_labels
from medseg.runtime.progress import silent
from medseg_napari.display import commands, overlays
from medseg_napari.display.mouse import position_text
from medseg_napari.editing.autosave import recoverable_sessions
from medseg_napari.editing.restore import add, prepare
from medseg_napari.editing.saved_layers import is_unsaved
from medseg_napari.layers import KEY, provenance_of
from medseg_napari.panels.autosave import autosave_of
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.saving import saver_of
from panel_hands import drag, press


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    return viewer


@pytest.fixture
def array() -> np.ndarray:
    """Intensities of nobody knows which orientation."""
    return np.random.default_rng(1).integers(0, 100, (12, 20, 24)).astype(np.int16)


def letters(viewer) -> str:
    shown = [
        viewer.canvas.overlays[f"medseg_{edge}"] for edge in ("top", "bottom", "left", "right")
    ]
    return "".join(overlay.text for overlay in shown if overlay.visible)


def paint(viewer, panel, layer, *, radius: float = 4.0) -> None:
    """One stroke in the middle of the layer with the mouse."""
    panel.form.radius.setValue(radius)
    if not panel.form.buttons["Paint"].isChecked():
        press(panel, "Paint")
    QTest.qWait(50)
    at = [n // 2 for n in layer.data.shape]
    viewer.dims.set_current_step(0, at[0])
    drag(viewer, layer, at, [at[0], at[1], at[2] + 4])


def test_an_array_gets_no_letters_a_yellow_line_and_a_file_that_claims_no_side(
    window, array, tmp_path
) -> None:
    window.add_image(array, scale=(3, 1, 1), name="array")
    panel = open_tab(window, "Labels")
    press(panel, "New labels")
    layer = window.layers[1]
    paint(window, panel, layer)
    assert layer.data.any()
    assert letters(window) == ""
    assert position_text(window, (15, 10, 12)) == ""
    note = panel.header.note
    assert note.isVisible(), "also after a stroke"
    assert "'array' was not opened with medseg: left and right are not known" in note.text()
    assert "f0c000" in note.styleSheet()

    (path,) = layer.save(str(tmp_path / "out.nii.gz"), plugin="medseg")
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    np.testing.assert_allclose(header["pixdim"][1:4], (3, 1, 1))
    assert np.array_equal(np.asarray(nib.load(path).dataobj), layer.data)
    assert not read_labels(path).provenance.laterality_known
    with pytest.raises(Exception, match="where the patient's left is"):
        layer.save(str(tmp_path / "out.seg.nrrd"), plugin="medseg")


def test_a_foreign_layer_over_a_scan_hides_the_letters(window, array, hippocampus) -> None:
    window.open(str(hippocampus), plugin="medseg")
    commands.axial(window)
    assert letters(window) == "APRL"
    foreign = window.add_image(array, name="array")
    assert letters(window) == ""
    foreign.visible = False
    assert letters(window) == "APRL"
    drawn = window.add_labels(np.zeros(window.layers[0].data.shape, np.uint8), name="by hand")
    drawn.scale, drawn.translate = window.layers[0].scale, window.layers[0].translate
    overlays.refresh(window)
    assert letters(window) == "APRL", "napari's own labels on a scan of ours are where it is"


TURNS = [
    {"rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]},
    {"shear": [0.0, 0.0, 0.3]},
    {"affine": np.diag([1.0, -2.0, 1.0, 1.0]) + np.eye(4, k=1) * [[0], [0.2], [0], [0]]},
]


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: next(iter(turn)))
def test_a_turned_layer_is_refused_with_the_reason_and_its_labels_are_kept(
    window, array, turn, qtbot
) -> None:
    window.add_image(array, name="turned", **turn)
    panel = open_tab(window, "Labels")
    press(panel, "New labels")
    assert len(window.layers) == 1
    assert f"turned by its own {next(iter(turn))}" in panel.form.job.message.text()
    labels = window.add_labels((array > 90).astype(np.uint8), name="on it", **turn)
    assert f"turned by its own {next(iter(turn))}" in panel.form.job.message.text()
    assert panel.form.label_list.rowCount() == 0
    truth, transform = np.array(labels.data), labels.affine.affine_matrix
    rotate, shear = np.array(labels.rotate), np.array(labels.shear)
    root = panel.autosave.session.root
    panel.autosave.save_now()
    del labels, panel
    window.close()
    kept = left_behind(root, qtbot)
    (again,) = add(ViewerModel(), prepare(kept, [], silent))
    assert np.array_equal(again.data, truth)
    np.testing.assert_allclose(again.affine.affine_matrix, transform)
    np.testing.assert_allclose(again.rotate, rotate)
    np.testing.assert_allclose(again.shear, shear)


def left_behind(root, qtbot):
    """What a closed window has kept, once its lock is let go of."""
    qtbot.waitUntil(lambda: len(recoverable_sessions(root)) == 1)
    return recoverable_sessions(root)[0]


def test_restored_labels_of_an_array_have_no_letters_either(window, array, qtbot) -> None:
    window.add_image(array, scale=(3, 1, 1), name="array")
    panel = open_tab(window, "Labels")
    press(panel, "New labels")
    paint(window, panel, window.layers[1])
    truth, root = np.array(window.layers[1].data), panel.autosave.session.root
    panel.autosave.save_now()
    del panel
    window.close()
    kept = left_behind(root, qtbot)
    (again,) = add(ViewerModel(), prepare(kept, [], silent))
    assert np.array_equal(again.data, truth)
    np.testing.assert_allclose(again.scale, (3, 1, 1))
    assert not provenance_of(again.metadata[KEY]).laterality_known


def test_the_last_stroke_is_kept_within_seconds(window, hippocampus, qtbot) -> None:
    window.open(str(hippocampus), plugin="medseg")
    panel = open_tab(window, "Labels")
    press(panel, "New labels")
    layer = window.layers[1]
    for radius in (3.0, 6.0):
        paint(window, panel, layer, radius=radius)
        qtbot.waitUntil(lambda: kept_voxels(panel.autosave.session.folder) == layer.data.sum())
    assert panel.header.save.text() == "Save *"


def kept_voxels(folder) -> int:
    """How many voxels autosave has of the one label map."""
    files = [file for file in folder.glob("*.nii.gz") if not file.name.startswith(".")]
    return int(read_labels(files[0]).values.sum()) if len(files) == 1 else 0


def answer(words: str, asked: list[str]):
    """Press a button of the question on closing as soon as it shows."""

    def click() -> None:
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        asked.append(box.text())
        button = next(one for one in box.buttons() if words in one.text().replace("&", ""))
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    return click


def quit_by_key(viewer, qtbot, words: str) -> list[str]:
    """Close as Ctrl+Q does, past napari's own question, and answer ours."""
    from napari.settings import get_settings
    from qtpy.QtCore import QTimer

    get_settings().application.confirm_close_window = False
    asked: list[str] = []
    QTimer.singleShot(0, answer(words, asked))
    viewer.window._qt_window.close(quit_app=True, confirm_need=True)
    return asked


@pytest.fixture
def painted(window, hippocampus, monkeypatch):
    """A scan and labels painted a moment ago, in a window that does not quit the tests."""
    from napari._qt import qt_main_window

    monkeypatch.setattr(qt_main_window, "quit_app_", window.close)
    window.open(str(hippocampus), plugin="medseg")
    panel = open_tab(window, "Labels")
    press(panel, "New labels")
    layer = window.layers[1]
    paint(window, panel, layer)
    return window, panel, layer


def test_keep_on_closing_keeps_the_last_stroke(painted, qtbot) -> None:
    window, panel, layer = painted
    truth, root = np.array(layer.data), panel.autosave.session.root
    del panel, layer
    asked = quit_by_key(window, qtbot, "Keep")
    assert asked == ["1 unsaved label map: 'hippocampus_001: labels'."]
    kept = left_behind(root, qtbot)
    (again,) = add(ViewerModel(), prepare(kept, [], silent))
    assert np.array_equal(again.data, truth)


def test_save_on_closing_writes_onto_the_scans_grid(painted, qtbot, tmp_path, hippocampus) -> None:
    window, panel, layer = painted
    truth, root = np.array(layer.data), panel.autosave.session.root
    target = tmp_path / "mine.nii.gz"
    saver_of(window).ask = lambda _suggested: target
    del panel, layer
    quit_by_key(window, qtbot, "Save")
    assert recoverable_sessions(root) == []
    assert nib.load(target).affine.tobytes() == nib.load(hippocampus).affine.tobytes()
    assert np.asarray(nib.load(target).dataobj).sum() == truth.sum()


def test_discard_and_cancel_do_what_they_say(painted, qtbot) -> None:
    window, panel, layer = painted
    root = panel.autosave.session.root
    quit_by_key(window, qtbot, "Cancel")
    assert window.window._qt_window.isVisible()
    assert layer in window.layers
    assert is_unsaved(layer)
    del panel, layer
    quit_by_key(window, qtbot, "Discard")
    assert recoverable_sessions(root) == []


def test_ctrl_s_saves_whatever_has_the_keys_and_takes_any_name(
    painted, qtbot, tmp_path, hippocampus
) -> None:
    window, panel, layer = painted
    names = iter(["first", "second.nii.gz"])
    from medseg_napari.writer import with_ending

    saver = saver_of(window)
    saver.ask = lambda _suggested: with_ending(tmp_path / next(names))
    canvas = window.window._qt_viewer.canvas.native
    for widget in (canvas, panel.form.search):
        layer.metadata.pop("medseg_saved_to", None)
        widget.setFocus()
        with qtbot.waitSignal(saver.saved, timeout=30_000):
            QTest.keyClick(widget, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == [
        "first.nii.gz",
        "second.nii.gz",
    ]
    assert (
        nib.load(tmp_path / "first.nii.gz").affine.tobytes()
        == nib.load(hippocampus).affine.tobytes()
    )
    assert panel.header.save.text() == "Save"
    assert "written to" in panel.form.job.message.text()
    paint(window, panel, layer, radius=6.0)
    assert panel.header.save.text() == "Save *"
    with qtbot.waitSignal(saver.saved, timeout=30_000):
        QTest.mouseClick(panel.header.save, Qt.MouseButton.LeftButton)
    saved = np.asarray(nib.load(tmp_path / "second.nii.gz").dataobj)
    assert saved.sum() == layer.data.sum(), "into the same file, unasked"
    assert not is_unsaved(layer)


def test_a_read_only_folder_is_told_and_the_work_stays(painted, qtbot, tmp_path) -> None:
    window, panel, layer = painted
    saver = saver_of(window)
    saver.ask = lambda _suggested: tmp_path / "nowhere" / "x.nii.gz"
    with qtbot.waitSignal(
        saver.message, timeout=30_000, check_params_cb=lambda _t, k: k == "error"
    ):
        QTest.mouseClick(panel.header.save, Qt.MouseButton.LeftButton)
    assert "nowhere" in panel.form.job.message.text()
    assert is_unsaved(layer)


def test_a_run_ends_with_its_scan_and_with_the_window(window, hippocampus, halves, package, qtbot):
    from medseg_napari.inference.run import Runner

    (scan,) = window.open(str(hippocampus), plugin="medseg")
    panel = open_tab(window, "Segment")
    panel.runner = Runner(load=lambda _request: halves(tiles=10_000, seconds_per_tile=0.01))
    panel.form.model.offer(package)
    panel.form.model.setCurrentIndex(panel.form.model.count() - 1)
    press_run(panel, qtbot)
    window.layers.remove(scan)
    assert not panel.form.job.busy
    assert "the scan was closed" in panel.form.job.message.text()
    window.open(str(hippocampus), plugin="medseg")
    press_run(panel, qtbot)
    asked: list[list[str]] = []
    guard = autosave_of(window).guard
    guard.ask = lambda _unsaved, runs: asked.append(list(runs)) or "stay"
    window.window._qt_window.close(quit_app=True)
    assert asked == [["a run of the Segment tab"]]
    assert panel.form.job.busy
    guard.ask = lambda _unsaved, _runs: "keep"
    job = panel.form.job.runner.current
    window.close()
    assert job.cancel.is_set()


def press_run(panel, qtbot) -> None:
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=30_000)
    QTest.mouseClick(panel.form.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "segmenting" in panel.form.job.message.text(), timeout=30_000)
