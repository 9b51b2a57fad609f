"""The Labels panel in a real viewer: list, brush, tools, locks, each with the mouse or a button."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest

from medseg.volume import Label
from medseg_napari.display import commands
from medseg_napari.editing.label_tables import table_of, visibility_of
from medseg_napari.layers import KEY, labels_from_layer
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.header import header_of
from medseg_napari.panels.label_list import LOCK, NAME, SHOW, SLICES, VOLUME
from medseg_napari.panels.labels import LabelsPanel
from panel_hands import choose, connections, drag, pixel_of, press, tick, type_name


@pytest.fixture
def open_labels(make_napari_viewer, qtbot):
    """A viewer with scans, labels and the docked panel, as people open it."""

    def _open(*paths) -> tuple:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1200, 900)
        for path in paths:
            viewer.open(str(path), plugin="medseg")
        panel = open_tab(viewer, "Labels")
        assert isinstance(panel, LabelsPanel)
        return viewer, panel

    return _open


@pytest.fixture
def ct_organs(shared_data):
    folder = shared_data / "ct_mr_organs"
    return folder / "example_ct_sm.nii.gz", folder / "example_seg.nii.gz"


@pytest.fixture
def hippocampus_labels(hippocampus):
    return hippocampus, hippocampus.parents[1] / "labels" / hippocampus.name


def test_the_list_names_shows_solos_and_finds(
    open_labels, ct_organs, qtbot, near_color, save_picture
) -> None:
    viewer, panel = open_labels(*ct_organs)
    layer, table = viewer.layers[1], panel.form.label_list
    truth = np.bincount(layer.data.ravel())
    assert table.rowCount() == (truth[1:] > 0).sum()
    liver = table.row_of(5)
    assert float(table.item(liver, VOLUME).text()) == pytest.approx(truth[5] * 0.027, rel=0.01)
    assert table.item(liver, SLICES).text() == str((layer.data == 5).any(axis=(1, 2)).sum())
    commands.coronal(viewer)
    assert table.item(liver, SLICES).text() == str((layer.data == 5).any(axis=(0, 2)).sum())
    commands.axial(viewer)

    choose(panel, 5)
    assert layer.selected_label == 5
    type_name(panel, table.item(liver, NAME), "liver")
    assert [one.name for one in table_of(layer) if one.value == 5] == ["liver"]
    assert "liver" in list(layer.features["name"])
    table.item(table.row_of(1), NAME).setText("liver")
    assert "another organ is called 'liver'" in panel.form.job.message.text()
    assert table.item(table.row_of(1), NAME).text() == "label 1"
    panel.ask_color = lambda _old: QColor(10, 200, 30)
    press(panel, "Colour...")
    layer.opacity = 0.25
    assert panel.form.opacity.value() == 25
    panel.form.opacity.setValue(100)
    assert layer.opacity == 1.0
    press(panel, "Centre")
    qtbot.wait(50)
    green = near_color(viewer.screenshot(canvas_only=True, flash=False), (10, 200, 30), 8)
    assert green.mean() > 0.02
    height, width = green.shape
    assert green[height // 2 - 40 : height // 2 + 40, width // 2 - 40 : width // 2 + 40].any()

    tick(panel, 5, SHOW)
    qtbot.wait(50)
    gone = near_color(viewer.screenshot(canvas_only=True, flash=False), (10, 200, 30), 8)
    assert gone.mean() < green.mean() / 50
    press(panel, "Solo")
    assert visibility_of(layer).solo == 5
    qtbot.wait(50)
    alone = viewer.screenshot(canvas_only=True, flash=False)
    assert near_color(alone, (10, 200, 30), 8).mean() > 0.02
    assert near_color(alone, next(iter(table_of(layer))).color, 8).mean() < 1e-3
    press(panel, "Solo")

    panel.form.search.setText("LIV")
    assert [r for r in range(table.rowCount()) if not table.isRowHidden(r)] == [liver]
    panel.form.search.setText("")
    save_picture(viewer, "labels-panel.png")
    assert labels_from_layer(*layer.as_layer_data_tuple()[:2]).table == table_of(layer)


def test_steps_go_to_the_slices_that_hold_the_organ(open_labels, hippocampus_labels) -> None:
    viewer, panel = open_labels(*hippocampus_labels)
    layer = viewer.layers[1]
    choose(panel, 1)
    for plane, axis in (("axial", 0), ("coronal", 1), ("sagittal", 2)):
        commands.show_plane(viewer, plane)
        held = np.flatnonzero(np.moveaxis(layer.data == 1, axis, 0).any(axis=(1, 2)))
        viewer.dims.set_point(axis, float(layer.data_to_world((0, 0, 0))[axis]))
        for expected in held[held > 0][:2]:
            press(panel, "Slice >")
            assert viewer.dims.current_step[axis] == expected
        viewer.dims.set_current_step(axis, int(held[-1]))
        press(panel, "Slice >")
        assert "no further slice" in panel.form.job.message.text()


def test_a_stroke_paints_a_ball_in_mm_and_is_one_step(open_labels, hippocampus_labels) -> None:
    viewer, panel = open_labels(*hippocampus_labels)
    for plane in commands.PLANES:
        stroke_and_take_back(viewer, panel, plane)


def stroke_and_take_back(viewer, panel, plane) -> None:
    layer = viewer.layers[1]
    before = np.array(layer.data)
    commands.show_plane(viewer, plane)
    axis = commands.PLANES[plane][0]
    viewer.dims.set_current_step(axis, layer.data.shape[axis] // 2)
    press(panel, "Add")
    new = int(layer.selected_label)
    panel.form.radius.setValue(3.0)
    press(panel, "Paint")
    assert not layer.mouse_pan
    QTest.qWait(50)
    middle = [n // 2 for n in layer.data.shape]
    ends = [list(middle), list(middle)]
    across = commands.PLANES[plane][2]
    ends[0][across] -= 6
    ends[1][across] += 6
    camera = tuple(viewer.scene.camera.center)
    drag(viewer, layer, *ends)
    assert tuple(viewer.scene.camera.center) == camera
    painted = np.argwhere(layer.data == new)
    spacing = np.asarray(layer.scale)
    low, high = (np.asarray(end) * spacing for end in ends)
    at = painted * spacing
    along = np.clip((at - low)[:, across], 0, (high - low)[across])
    axis_points = low + np.eye(3)[across] * along[:, None]
    assert np.linalg.norm(at - axis_points, axis=1).max() <= 3.0 + 0.75 * spacing.max()
    assert np.ptp(painted[:, axis]) == 2 * np.floor(3.0 / spacing[axis])
    assert ((before != layer.data) <= (before == 0)).all(), "other organs were painted over"

    press(panel, "Undo")
    assert np.array_equal(layer.data, before)
    press(panel, "Redo")
    assert (layer.data == new).sum() == len(painted)
    press(panel, "Paint")
    assert layer.mouse_pan
    drag(viewer, layer, *ends)
    assert tuple(viewer.scene.camera.center) != camera
    assert (layer.data == new).sum() == len(painted)
    press(panel, "Undo")


def test_the_brush_keeps_to_a_range_and_to_the_slice_and_erases(
    open_labels, ct_organs, qtbot
) -> None:
    viewer, panel = open_labels(*ct_organs)
    scan, layer = viewer.layers
    press(panel, "Add")
    new = int(layer.selected_label)
    panel.form.limited.setChecked(True)
    panel.form.flat.setChecked(True)
    panel.form.over.setChecked(True)
    panel.form.low.setValue(0)
    panel.form.high.setValue(200)
    panel.form.radius.setValue(20)
    press(panel, "Paint")
    at = [n // 2 for n in layer.data.shape]
    viewer.dims.set_current_step(0, at[0])
    qtbot.wait(50)
    drag(viewer, layer, at, [at[0], at[1], at[2] + 8])
    painted = layer.data == new
    assert painted.sum() > 50
    assert set(np.flatnonzero(painted.any(axis=(1, 2)))) == {at[0]}
    assert ((scan.data[painted] >= 0) & (scan.data[painted] <= 200)).all()
    press(panel, "Erase")
    assert not panel.form.buttons["Paint"].isChecked()
    drag(viewer, layer, at, [at[0], at[1], at[2] + 8])
    assert not (layer.data == new).any()
    viewer.layers.remove(scan)
    drag(viewer, layer, at, at)
    assert "open it" in panel.form.job.message.text()
    press(panel, "Paint")
    layer.selected_label = 0
    drag(viewer, layer, at, at)
    assert "choose an organ" in panel.form.job.message.text()
    assert not layer.mouse_pan
    commands.front_3d(viewer)
    assert layer.mouse_pan, "3-D is for looking"
    assert not panel.form.buttons["Paint"].isChecked()


def test_locked_organs_stay_under_every_tool(open_labels, hippocampus_labels, qtbot) -> None:
    viewer, panel = open_labels(*hippocampus_labels)
    layer = viewer.layers[1]
    before = np.array(layer.data)
    tick(panel, 1, LOCK)
    choose(panel, 1)
    for words in ("Smooth", "Grow", "Fill holes", "Largest piece", "Remove", "Limit to range"):
        press(panel, words)
        assert "locked" in panel.form.job.message.text(), words
    press(panel, "Paint")
    at = np.argwhere(before == 1)[0]
    viewer.dims.set_current_step(0, int(at[0]))
    qtbot.wait(50)
    drag(viewer, layer, at, at)
    assert "locked" in panel.form.job.message.text()
    assert np.array_equal(layer.data, before)

    choose(panel, 2)
    layer.mode = "paint"
    assert not panel.form.buttons["Paint"].isChecked(), "napari's brush takes over"
    layer.brush_size, layer.n_edit_dimensions = 12, 3
    drag(viewer, layer, at, [at[0], at[1], at[2] + 5])
    assert np.array_equal(layer.data == 1, before == 1)
    assert (layer.data == 2).sum() > (before == 2).sum()
    layer.undo()
    assert np.array_equal(layer.data, before)
    layer.mode = "erase"
    drag(viewer, layer, at, at)
    qtbot.wait(20)
    assert np.array_equal(layer.data == 1, before == 1)
    layer.fill((*np.argwhere(before == 0)[0],), 1)
    qtbot.wait(20)
    assert np.array_equal(layer.data == 1, before == 1)
    tick(panel, 1, LOCK)
    layer.mode = "pan_zoom"
    choose(panel, 1)
    press(panel, "Smooth")
    assert not np.array_equal(layer.data == 1, before == 1)


def test_tools_correct_the_active_organ_in_one_step_each(
    open_labels, hippocampus_labels, qtbot
) -> None:
    viewer, panel = open_labels(*hippocampus_labels)
    scan, layer = viewer.layers
    whole = np.array(layer.data)
    choose(panel, 1)
    held = np.flatnonzero((whole == 1).any(axis=(1, 2)))
    kept = held[::3]
    left_out = np.isin(np.arange(len(whole)), np.setdiff1d(held, kept))
    layer.data[left_out[:, None, None] & (whole == 1)] = 0
    drawn = np.array(layer.data)
    press(panel, "Fill between slices")
    inside = slice(kept[0], kept[-1] + 1)
    filled, truth = layer.data[inside] == 1, whole[inside] == 1
    assert 2 * (filled & truth).sum() / (filled.sum() + truth.sum()) > 0.85
    assert "filled between slices" in panel.form.job.message.text()
    press(panel, "Undo")
    assert np.array_equal(layer.data, drawn)
    press(panel, "Redo")

    layer.data[0, 0, 0] = 1
    press(panel, "Largest piece")
    assert layer.data[0, 0, 0] == 0
    press(panel, "Range from organ")
    assert panel.form.low.value() < np.median(scan.data[layer.data == 1]) < panel.form.high.value()
    grown_from = (layer.data == 1).sum()
    panel.form.grow_mm.setValue(4.0)
    press(panel, "Grow")
    assert (layer.data == 1).sum() > grown_from
    press(panel, "Limit to range")
    values = scan.data[layer.data == 1]
    assert (values >= panel.form.low.value()).all()
    layer.data[2:5, 2:5, 2:5] = 1
    press(panel, "Split pieces")
    assert "split from" in panel.form.job.message.text()
    assert len(table_of(layer)) == 3
    panel.form.smooth_mm.setValue(1.0)
    press(panel, "Smooth")
    qtbot.waitUntil(lambda: not panel._pause.isActive(), timeout=5000)
    row = panel.form.label_list.row_of(1)
    shown_ml = float(panel.form.label_list.item(row, VOLUME).text())
    assert shown_ml == pytest.approx((layer.data == 1).sum() / 1000, rel=0.02, abs=0.01)
    layer.selected_label = 0
    press(panel, "Smooth")
    assert "choose an organ" in panel.form.job.message.text()


def test_an_organ_is_cut_between_two_clicks(open_labels, make_napari_viewer, qtbot) -> None:
    viewer, panel = open_labels()
    values = np.zeros((9, 60, 90), np.uint8)
    p, el = np.ogrid[:60, :90]
    values[2:7, (p - 30) ** 2 + (el - 30) ** 2 <= 200] = 1
    values[2:7, (p - 30) ** 2 + (el - 55) ** 2 <= 200] = 1
    layer = viewer.add_labels(values.copy(), scale=(3, 1, 1), name="drawn")
    assert panel.form.label_list.rowCount() == 1
    assert KEY in layer.metadata
    commands.axial(viewer)
    viewer.dims.set_current_step(0, 4)
    press(panel, "Cut at two points")
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.wait(50)
    for at in ((4, 30, 25), (4, 30, 60)):
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=pixel_of(viewer, layer, at))
        qtbot.wait(50)
    assert not panel.form.buttons["Cut at two points"].isChecked()
    assert (layer.data[4, 30, 20:40] == 1).all()
    assert (layer.data[4, 30, 46:66] == 2).all()
    assert np.array_equal(layer.data > 0, values > 0)
    layer.undo()
    assert np.array_equal(layer.data, values)


def test_the_schema_is_edited_checked_and_kept(open_labels, hippocampus_labels, tmp_path) -> None:
    viewer, panel = open_labels(*hippocampus_labels)
    layer, schema = viewer.layers[1], panel.schema
    schema.cells.item(0, 1).setText("hippocampus head")
    schema.cells.item(0, 3).setText("10200005")
    schema.cells.item(0, 5).setText("Hippocampus")
    schema.buttons["Apply"].click()
    assert "row 1: '10200005' is no SNOMED CT code" in schema.message.text()
    assert not any(label.code for label in table_of(layer))
    schema.cells.item(0, 3).setText("10200004")
    schema.buttons["Add row"].click()
    schema.buttons["Apply"].click()
    first: Label = table_of(layer).labels[0]
    assert (first.name, first.code.value, first.code.scheme) == (
        "hippocampus head",
        "10200004",
        "SCT",
    )
    assert panel.form.label_list.item(0, NAME).text() == "hippocampus head"
    assert len(table_of(layer)) == 3

    file = tmp_path / "schema.json"
    schema.ask_save = schema.ask_open = lambda: str(file)
    schema.buttons["Export..."].click()
    schema.cells.setRowCount(1)
    schema.buttons["Apply"].click()
    assert "is in use" in schema.message.text()
    schema.buttons["Import..."].click()
    assert schema.table() == table_of(layer)
    layer.save(str(tmp_path / "out.nii.gz"), plugin="medseg")
    from medseg.reading import read_labels

    assert read_labels(tmp_path / "out.nii.gz").table == table_of(layer)


def test_new_labels_lie_on_the_scan(open_labels, hippocampus) -> None:
    viewer, panel = open_labels()
    press(panel, "New labels")
    assert "open a scan first" in panel.form.job.message.text()
    (scan,) = viewer.open(str(hippocampus), plugin="medseg")
    press(panel, "New labels")
    layer = viewer.layers[1]
    assert layer.data.shape == scan.data.shape
    grid = layer.metadata[KEY]["grid"]
    assert grid.affine.tobytes() == scan.metadata[KEY]["grid"].affine.tobytes()
    assert panel.form.layers.layer() is layer
    assert panel.form.label_list.rowCount() == 1


def test_the_panel_leaves_nothing_behind(make_napari_viewer, hippocampus_labels) -> None:
    viewer = make_napari_viewer()
    for path in hippocampus_labels:
        viewer.open(str(path), plugin="medseg")
    layer = viewer.layers[1]
    commands.axial(viewer)
    header = header_of(viewer)  # header and autosave belong to the dock and window, not the panel
    before, drags = connections(layer, viewer), list(layer.mouse_drag_callbacks)
    panel = LabelsPanel(viewer)
    press(panel, "Paint")
    assert connections(layer, viewer) != before
    assert len(layer.mouse_drag_callbacks) == len(drags) + 1
    panel.close()
    assert connections(layer, viewer) == before
    assert list(layer.mouse_drag_callbacks) == drags
    assert layer.mouse_pan
    assert panel.tools.brush.layer is None
    assert panel._layer is None
    assert panel._guards == {}
    press(panel, "Smooth")
    assert connections(layer, viewer) == before, "a closed panel stays closed"
    header.forget()
