"""The Review panel in a real viewer, against figures that medseg.metrics gives by hand."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from scipy import ndimage

from medseg.metrics import overlap, surface_distances
from medseg.reading import read_labels
from medseg.volume import Grid, LabelMap, LabelTable
from medseg_napari.editing.label_tables import table_of
from medseg_napari.layers import layer_from_labels
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.review import ReviewPanel

NAMES = LabelTable.of({1: "anterior", 2: "posterior"})


@pytest.fixture
def truth(hippocampus) -> LabelMap:
    path = str(hippocampus).replace("images", "labels")
    return read_labels(path, table=NAMES)


@pytest.fixture
def eroded(truth) -> LabelMap:
    """The truth without its surface, under other values, and a false island on one slice."""
    values = np.zeros_like(truth.values)
    for value, other in ((1, 2), (2, 1)):
        values[ndimage.binary_erosion(truth.values == value)] = other
    values[2:22, 2:22, 5][truth.values[2:22, 2:22, 5] == 0] = 2
    return replace(truth, values=values, table=LabelTable.of({1: "Posterior", 2: "anterior"}))


@pytest.fixture
def pair(truth, eroded) -> tuple[LabelMap, LabelMap]:
    return truth, eroded


@pytest.fixture
def open_review(make_napari_viewer):
    def _open(*maps: LabelMap) -> tuple:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1300, 900)
        for number, labels in enumerate(maps):
            data, attributes, _ = layer_from_labels(labels, f"map {number}")
            viewer.add_labels(data, **attributes)
        panel = open_tab(viewer, "Review")
        assert isinstance(panel, ReviewPanel)
        return viewer, panel

    return _open


def assert_difference_stands_out(viewer, overlay, near_color) -> None:
    """In colours that no label has, over outlines of A and B."""
    marks = {label.name: label.color for label in table_of(overlay)}
    maps = [layer for layer in viewer.layers[1:] if layer is not overlay]
    labels = {label.color for layer in maps for label in table_of(layer)}
    assert len(set(marks.values())) == 3
    assert labels.isdisjoint(marks.values())
    canvas = viewer.screenshot(canvas_only=True, flash=False)
    assert near_color(canvas, marks["only in A"], 8).mean() > 0.01
    assert [layer.contour for layer in maps] == [1, 1], "what agrees is not filled"


def test_a_result_is_compared_with_the_truth(
    open_review, qtbot, hippocampus, pair, tmp_path, near_color, save_picture
) -> None:
    truth, eroded = pair
    viewer, panel = open_review(truth, eroded)
    viewer.open(str(hippocampus), plugin="medseg")
    viewer.layers.move(2, 0)
    form = panel.form
    assert (form.first.currentText(), form.second.currentText()) == ("map 1", "map 0")
    form.tolerance_mm.setValue(0.5)
    form.compare.click()
    qtbot.waitUntil(lambda: panel.result is not None, timeout=30_000)

    same_values = replace(eroded, values=np.array([0, 2, 1], np.uint8)[eroded.values], table=NAMES)
    scores = overlap(same_values, truth)
    surfaces = surface_distances(same_values, truth, tolerance_mm=0.5)
    shown = {
        form.table.item(row, 0).text().lower(): [
            form.table.item(row, column).text() for column in range(1, 6)
        ]
        for row in range(form.table.rowCount())
    }
    for name in NAMES.names:
        assert shown[name] == [
            f"{scores[name].dice:.3f}",
            f"{surfaces[name].hd95_mm:.2f}",
            f"{surfaces[name].nsd:.3f}",
            f"{scores[name].volume_ml:.2f}",
            f"{scores[name].reference_volume_ml:.2f}",
        ]

    overlay = viewer.layers[-1]
    assert overlay.name.startswith("difference")
    assert list(overlay.features["name"])[1:] == ["only in A", "only in B", "other label"]
    counts = np.bincount(overlay.data.ravel(), minlength=4)
    assert counts[1] == ((same_values.values > 0) & (truth.values == 0)).sum()
    assert counts[2] == ((same_values.values == 0) & (truth.values > 0)).sum()

    form.worst.click()
    slice_of = viewer.dims.current_step[0]
    expected = truth.values.shape[2] - 1 - 5
    assert slice_of == expected, "the island was drawn on slice 5 from the feet"
    assert "anterior" in form.job.message.text().lower()
    assert "mm²" in form.job.message.text()
    overlay.opacity = 1.0
    assert_difference_stands_out(viewer, overlay, near_color)
    overlay.opacity = 0.8
    form.notes.setPlainText("island near\nthe corner")
    save_picture(viewer, "review-panel.png")

    path = tmp_path / "scores.csv"
    panel.save(path)
    form.case.setText("second reading")
    panel.save(path)
    panel.save(path)
    rows = list(csv.DictReader(path.open()))
    assert [row["case"] for row in rows].count("second reading") == 2
    assert len(rows) == 4
    assert rows[0]["case"].startswith("case-")
    assert rows[0]["notes"] == "island near the corner"
    assert float(rows[0]["dice"]) == pytest.approx(
        scores[rows[0]["structure"].lower()].dice, abs=1e-5
    )
    assert "hippocampus_001" not in path.read_text()


def test_other_grids_are_refused_then_resampled_on_request(
    open_review, qtbot, truth, eroded
) -> None:
    coarse = Grid(
        tuple(n // 2 for n in truth.grid.shape), truth.grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    )
    halved = LabelMap(
        np.ascontiguousarray(truth.values[::2, ::2, ::2][tuple(slice(n) for n in coarse.shape)]),
        coarse,
        NAMES,
    )
    viewer, panel = open_review(halved, truth)
    form = panel.form
    assert not form.resample.isVisible()
    form.compare.click()
    qtbot.waitUntil(lambda: "different grids" in form.job.message.text(), timeout=10_000)
    assert panel.result is None
    assert len(viewer.layers) == 2
    assert form.resample.isVisible()
    form.resample.click()
    qtbot.waitUntil(lambda: panel.result is not None, timeout=30_000)
    assert "resampled" in form.job.message.text()
    assert all(row.dice > 0.8 for row in panel.result.rows)


def test_bad_pairs_and_bad_targets_are_told(open_review, qtbot, truth, tmp_path) -> None:
    viewer, panel = open_review(truth)
    form = panel.form
    form.compare.click()
    assert "two different Labels layers" in form.job.message.text()
    form.worst.click()
    assert "Compare first" in form.job.message.text()

    by_hand = viewer.add_labels(
        viewer.layers[0].data.copy(),
        scale=viewer.layers[0].scale,
        translate=viewer.layers[0].translate,
    )
    form.first.choose(by_hand)
    form.second.choose(viewer.layers[0])
    form.compare.click()
    qtbot.waitUntil(lambda: panel.result is not None, timeout=30_000)
    assert [row.dice for row in panel.result.rows] == [1.0, 1.0]
    form.worst.click()
    assert "no difference" in form.job.message.text()
    other = tmp_path / "shopping.csv"
    other.write_text("milk,eggs\n1,2\n")
    panel.save(other)
    assert "something else" in form.job.message.text()
    assert other.read_text() == "milk,eggs\n1,2\n"
    panel.save(tmp_path / "missing" / "scores.csv")
    assert "does not exist" in form.job.message.text()
