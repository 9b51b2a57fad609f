"""The Study panel in a real viewer: drop a folder, read the table, open a series."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt

from dicom_phantom import CANARY, Series, random_stored
from medseg_napari.display.window_level import AUTO
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.study import StudyPanel
from medseg_napari.study_rows import TIMES


@pytest.fixture
def panel(make_napari_viewer, settings, qtbot) -> StudyPanel:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1300, 900)
    return open_tab(viewer, "Study")


@pytest.fixture
def ready(panel, qtbot):
    """Waits until nothing runs."""

    def _ready() -> None:
        qtbot.waitUntil(lambda: not panel.form.job.busy, timeout=60_000)

    return _ready


def drop(panel, path) -> None:
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    buttons, modifiers = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    copy = Qt.DropAction.CopyAction
    panel.dropEvent(QDropEvent(QPointF(5, 5), copy, mime, buttons, modifiers))


def column(panel, title: str) -> list[str]:
    table = panel.form.table
    titles = [table.horizontalHeaderItem(at).text() for at in range(table.columnCount())]
    at = titles.index(title)
    return [table.item(row, at).text() for row in range(table.rowCount())]


def double_click(panel, row: int, qtbot) -> None:
    from qtpy.QtCore import Qt

    table = panel.form.table
    table.selectRow(row)
    table.scrollToItem(table.item(row, 1))
    place = table.visualItemRect(table.item(row, 1)).center()
    for click in (qtbot.mouseClick, qtbot.mouseDClick):
        click(table.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_a_dropped_ct_is_listed_and_opens_as_its_scanner_showed_it(
    panel, ready, qtbot, shared_data, save_picture
) -> None:
    from qtpy.QtCore import Qt

    drop(panel, shared_data / "ct_mr_organs" / "example_ct_dicom")
    ready()
    assert column(panel, "Series") == ["CT Body 3.0"]
    assert column(panel, "Kind") == ["CT"]
    assert column(panel, "Slices") == ["20"]
    assert column(panel, "Verdict") == ["ready"]
    assert not panel.form.opening.isVisible()
    qtbot.keyClick(panel.form.table, Qt.Key.Key_Return)
    ready()
    (layer,) = panel.viewer.layers
    assert tuple(layer.contrast_limits) == (-110, 190)  # centre 40, width 300
    assert layer.contrast_limits_range[0] <= -1000
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert panel.viewer.canvas.overlays.scale_bar.visible
    assert panel.viewer.canvas.overlays["medseg_left"].text == "R"
    assert panel.viewer.canvas.overlays["medseg_window"].text == "W 300  L 40 HU"
    panel.header.window.textActivated.emit("lung")
    assert tuple(layer.contrast_limits) == (-1350, 150)
    panel.header.planes["coronal"].click()
    assert panel.viewer.dims.order == (1, 0, 2)
    save_picture(panel.viewer, "study-panel.png")


def test_vendors_table_refusals_repairs_and_time(panel, ready, qtbot, shared_data) -> None:
    panel.open_study(shared_data / "dicom_vendor_qa")
    ready()
    kinds = column(panel, "Verdict")
    uneven = kinds.index("uneven slices: choose how")
    copies = kinds.index("two images, one identity")
    timed = column(panel, "Slices").index(f"6{TIMES}4 T")

    double_click(panel, copies, qtbot)
    assert "remove the wrong one" in panel.form.job.message.text()
    assert not panel.form.open.isEnabled()
    assert len(panel.viewer.layers) == 0

    double_click(panel, timed, qtbot)
    ready()
    (series,) = panel.viewer.layers
    assert series.data.shape == (4, 6, 64, 64)
    assert panel.viewer.dims.axis_labels[0] == "T"
    panel.form.time_point.click()
    assert panel.viewer.layers[-1].data.shape == (6, 64, 64)

    panel.viewer.layers.clear()
    panel.form.table.selectRow(uneven)
    assert panel.form.opening.isVisible()
    assert "interpolated" in panel.form.opening.currentText()
    panel.form.open.click()
    ready()
    (layer,) = panel.viewer.layers
    source = layer.metadata["medseg"]
    assert any("irregular=resample" in note for note in source["provenance"].notes)
    assert tuple(layer.contrast_limits) == (-7.5, 77.5)


def test_a_tilted_series_says_so_and_opens_either_way(panel, ready, qtbot, tmp_path) -> None:
    angle = np.radians(18.5)
    step = 4 * np.array([0, np.sin(angle), np.cos(angle)])
    Series(random_stored(), step_mm=step).write(tmp_path / "ct")
    drop(panel, tmp_path / "ct")
    ready()
    assert column(panel, "Verdict") == ["ready, tilted 18.5°"]
    panel.form.table.selectRow(0)
    assert "lean by 18.5°" in panel.form.detail.text()
    assert panel.form.opening.isVisible()
    for choice, told in ((0, " (tilted 18.5°)"), (1, "")):
        panel.form.opening.setCurrentIndex(choice)
        panel.form.open.click()
        ready()
        layer = panel.viewer.layers[-1]
        assert layer.name == "ct" + told
        assert len(panel.viewer.layers) == choice + 1


def test_no_scan_is_told_and_the_panel_goes_on(panel, ready, tmp_path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "notes.txt").write_text("no scan")
    panel.ask = lambda _parent: str(tmp_path / "letters")
    panel.form.browse.click()
    ready()
    assert "'letters' holds no scan" in panel.form.job.message.text()
    assert panel.form.table.rowCount() == 0
    Series(random_stored()).write(tmp_path / "series")
    drop(panel, tmp_path)
    ready()
    assert panel.form.table.rowCount() == 1


def test_looking_can_be_cancelled(panel, ready, qtbot, tmp_path, monkeypatch) -> None:
    import threading

    gate, over = threading.Event(), threading.Event()

    def slow(path, *, progress, **_options):
        for done in range(2000):
            progress(done, 2000, "reading headers")
            gate.wait(0.01)
        over.set()
        return ()

    monkeypatch.setattr("medseg.discovery.series_list.list_series", slow)
    panel.open_study(tmp_path)
    qtbot.waitUntil(lambda: "of 2000" in panel.form.job.message.text(), timeout=10_000)
    panel.open_study(tmp_path)
    assert "Cancel" in panel.form.job.message.text()
    panel.form.job.cancel.click()
    ready()
    assert not over.is_set()
    assert panel.form.job.message.text() == "stopped"


def test_what_was_typed_at_the_scanner_stays_on_the_screen(panel, ready, tmp_path, caplog) -> None:
    Series(random_stored()).write(tmp_path)
    panel.open_study(tmp_path)
    ready()
    assert column(panel, "Series") == [CANARY]
    panel.open_series()
    ready()
    (layer,) = panel.viewer.layers
    assert CANARY not in repr(layer.as_layer_data_tuple()[1])
    assert CANARY not in caplog.text


def test_layers_of_other_plugins_are_offered_to_be_opened_again(panel, ready, hippocampus) -> None:
    viewer = panel.viewer
    assert not panel.form.reopen.isVisible()
    (foreign,) = viewer.open(str(hippocampus), plugin="medseg")
    foreign.metadata.clear()
    foreign._source = foreign.source.model_copy(update={"reader_plugin": "napari"})
    viewer.add_image(np.zeros((3, 4, 5)), name="made in a notebook")
    assert panel.form.reopen.isVisible()
    assert panel.form.reopen.text() == "Re-open 1 layer with medseg"
    panel.form.reopen.click()
    ready()
    assert "medseg" in viewer.layers[-1].metadata


def test_what_is_opened_is_shown_and_a_window_that_hides_it_is_not_taken(
    panel, ready, qtbot, shared_data, hippocampus
) -> None:
    viewer = panel.viewer
    viewer.open(str(hippocampus), plugin="medseg")
    panel.open_study(shared_data / "hippocampus_dicom_crops" / "Study1")
    ready()
    double_click(panel, 0, qtbot)
    ready()
    first, crop = viewer.layers[0], viewer.layers[-1]
    assert not first.visible, "it lies elsewhere"
    assert "1 other layer hidden" in panel.form.job.message.text()
    middle = crop.extent.world.mean(axis=0)
    assert abs(viewer.dims.point[0] - middle[0]) <= crop.scale[0]
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], middle[-2:], atol=2.0)
    source = crop.metadata["medseg"]
    assert source["window"] == (-5, 945)
    assert crop.contrast_limits[1] < 300, "the data end at 154"
    assert "window would hide the data" in panel.form.job.message.text()
    qtbot.wait(50)
    picture = viewer.screenshot(canvas_only=True, flash=False)
    height, width = picture.shape[:2]
    assert picture[height // 3 : -height // 3, width // 3 : -width // 3, :3].mean() > 50
    qtbot.keyClick(
        viewer.window._qt_viewer.canvas.native, Qt.Key.Key_0, Qt.KeyboardModifier.AltModifier
    )
    assert tuple(crop.contrast_limits) == source["window"]
    panel.header.window.textActivated.emit(AUTO)
    assert crop.contrast_limits[1] < 300
