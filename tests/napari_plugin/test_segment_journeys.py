"""Journeys with the Segment panel in a real viewer: merge, reject, box, preview, maps, trouble."""

from __future__ import annotations

import shutil
import threading

import msgspec
import numpy as np
import pytest
import torch

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt

from medseg.errors import PackageError
from medseg.inference import Prediction
from medseg.model_package import ModelPackage, find_package
from medseg.volume import LabelTable
from medseg_napari.editing.label_tables import table_of
from medseg_napari.inference.run import Runner
from medseg_napari.layers import MAP_KEY
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.segment import SegmentPanel
from medseg_napari.run_record import maker_of, run_facts, runs_of
from medseg_napari.undo import put_values
from panel_hands import drag

TIMEOUT_MS = 60_000


@pytest.fixture(scope="module")
def shipped() -> ModelPackage:
    try:
        return find_package("hippocampus-mr")
    except PackageError:
        pytest.skip("the model hippocampus-mr is not shipped yet")


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def panel(make_napari_viewer, qtbot, hippocampus, shipped) -> SegmentPanel:
    """The docked panel with a real scan and the shipped model."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 1000)
    viewer.open(str(hippocampus), plugin="medseg")
    panel = open_tab(viewer, "Segment")
    qtbot.waitUntil(lambda: panel.form.postprocessing.count() > 2, timeout=TIMEOUT_MS)
    panel.form.model.choose(shipped)
    return panel


def use(panel: SegmentPanel, predictor) -> None:
    panel.runner = Runner(load=lambda _request: predictor)


def run(panel: SegmentPanel, qtbot) -> None:
    panel.form.run.click()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=TIMEOUT_MS)
    assert panel.form.job.message.text().startswith("done in"), panel.form.job.message.text()


def labels_of(panel: SegmentPanel) -> list:
    from napari.layers import Labels

    return [layer for layer in panel.viewer.layers if isinstance(layer, Labels)]


def test_forecast_run_maps_reject_and_a_card(panel, qtbot, save_picture) -> None:
    form = panel.form
    qtbot.waitUntil(lambda: "1 tile" in form.estimate.text(), timeout=TIMEOUT_MS)
    assert "of memory" in form.estimate.text()
    assert "Medical Segmentation Decathlon" in form.card.toPlainText()
    form.card_button.click()
    form.more.click()
    form.shown.setCurrentIndex(1)
    qtbot.waitUntil(lambda: "1 tile" in form.estimate.text(), timeout=TIMEOUT_MS)
    run(panel, qtbot)
    assert "expected)" in form.job.message.text()
    _, labels, doubts = panel.viewer.layers
    assert doubts.metadata[MAP_KEY]
    assert form.scans.layer() is panel.viewer.layers[0]
    edge = np.abs(np.diff((labels.data > 0).astype(int), axis=1, append=0)) > 0
    assert doubts.data[edge].mean() > 3 * doubts.data.mean()
    assert 0 < doubts.data.max() <= 67
    np.testing.assert_array_equal(doubts.translate, labels.translate)
    save_picture(panel.viewer, "segment-uncertainty.png")

    assert form.reject.isVisible()
    form.reject.click()
    assert len(panel.viewer.layers) == 1
    assert not form.reject.isVisible()


def test_any_step_afterwards_and_the_probability_of_a_label(panel, qtbot) -> None:
    form = panel.form
    run(panel, qtbot)
    plain = np.array(labels_of(panel)[0].data)
    form.reject.click()
    steps = {form.postprocessing.itemData(row) for row in range(form.postprocessing.count())}
    assert {"model", "nothing", "crf", "components", "holes", "minimum_volume"} <= steps
    row = form.postprocessing.findData("crf")
    assert "iterations" in form.postprocessing.itemData(row, Qt.ItemDataRole.ToolTipRole)
    form.postprocessing.setCurrentIndex(row)
    form.shown.setCurrentIndex(form.shown.findText("probability of anterior"))
    run(panel, qtbot)
    (refined,) = labels_of(panel)
    likely = panel.viewer.layers[-1]
    assert "probability of anterior" in likely.name
    assert 0 < (refined.data != plain).sum() < 0.5 * (plain > 0).sum()
    assert (refined.data[likely.data > 51] == 1).all()
    assert (likely.data[refined.data == 1] >= 33).all()


def test_a_merge_keeps_names_apart_is_one_step_and_can_be_taken_back(panel, qtbot) -> None:
    viewer, form = panel.viewer, panel.form
    run(panel, qtbot)
    form.accept.click()
    (found,) = labels_of(panel)
    truth = np.array(found.data)
    mine = viewer.add_labels(
        np.zeros_like(truth), scale=found.scale, translate=found.translate, name="mine"
    )
    lower = np.zeros_like(truth)
    lower[truth.shape[0] // 2 :] = 1  # value 1 means "label 1" here, not anterior
    put_values(mine, lower)
    before = np.array(mine.data)

    form.target.choose(mine)
    form.rule.setCurrentIndex(form.rule.findData("keep_others"))
    run(panel, qtbot)
    assert table_of(mine).names == ("label 1", "posterior", "anterior")
    expected = np.where(before > 0, 1, np.array([0, 3, 2])[truth])
    np.testing.assert_array_equal(mine.data, expected)
    mine.undo()
    np.testing.assert_array_equal(mine.data, before)
    mine.redo()
    form.reject.click()
    np.testing.assert_array_equal(mine.data, before)
    assert table_of(mine).names == ("label 1",)

    form.rule.setCurrentIndex(form.rule.findData("overwrite"))
    run(panel, qtbot)
    assert (mine.data[truth > 0] > 1).all()
    painted = np.array(mine.data)
    painted[:, :4] = 3
    put_values(mine, painted)
    form.rule.setCurrentIndex(form.rule.findData("keep_edits"))
    run(panel, qtbot)
    np.testing.assert_array_equal(mine.data, painted)


def test_a_merge_is_told_with_the_labels_and_reject_takes_it_back(panel, qtbot) -> None:
    form = panel.form
    run(panel, qtbot)
    (layer,) = labels_of(panel)
    (first,) = runs_of({"metadata": layer.metadata})
    assert first.record.seconds["segment"] > 0
    form.target.choose(layer)
    run(panel, qtbot)
    assert runs_of({"metadata": layer.metadata})[0] == first
    assert maker_of(layer.data, {"metadata": layer.metadata}).kind == "automatic"
    form.reject.click()
    assert runs_of({"metadata": layer.metadata}) == (first,)

    put_values(layer, np.zeros_like(layer.data))
    put_values(layer, np.full((2, 2, 2), 1, layer.data.dtype), where=(slice(0, 2),) * 3)
    run(panel, qtbot)
    attributes = {"metadata": layer.metadata}
    made = maker_of(layer.data, attributes)
    assert (made.kind, made.name) == ("semiautomatic", first.model)
    assert first.finished in run_facts(runs_of(attributes))["Before that"]


def test_only_a_drawn_box_is_segmented(panel, qtbot, save_picture) -> None:
    viewer, form = panel.viewer, panel.form
    run(panel, qtbot)
    (whole,) = labels_of(panel)
    full = np.array(whole.data)
    form.draw.click()
    box = form.boxes.layer()
    assert box.mode == "add_rectangle"
    assert "draw a rectangle" in form.job.message.text()
    form.run.click()
    assert "draw a rectangle" in form.job.message.text()
    assert form.run.isEnabled()

    middle = full.shape[0] // 2
    viewer.dims.set_current_step(0, middle)
    drag(viewer, box, [middle, 9.6, 5], [middle, 30.2, 20])
    assert len(box.data) == 1
    form.first.setValue(4)
    form.last.setValue(20)
    form.target.choose(whole)
    inside = (slice(4, 21), slice(10, 31), slice(5, 21))
    put_values(whole, np.full_like(full, 2))
    save_picture(viewer, "segment-box.png")
    run(panel, qtbot)
    np.testing.assert_array_equal(whole.data[inside], full[inside])
    outside = np.ones(full.shape, bool)
    outside[inside] = False
    assert (whole.data[outside] == 2).all()


def test_a_preview_is_refined_in_place(panel, qtbot, halves) -> None:
    class Coarse(halves):
        def run(self, scan, options, *, progress):
            found = super().run(scan, options, progress=progress)
            if options.overlap != 0.0:
                gate.wait(20)
                return found
            empty = np.zeros_like(found.labels.values)
            return Prediction(msgspec_replace(found.labels, empty))

        def estimate(self, grid, options, *, probe):
            self.tiles = 2 if options.overlap == 0.0 else 9
            return super().estimate(grid, options, probe=probe)

    gate = threading.Event()
    use(panel, Coarse())
    panel.form.preview.setChecked(True)
    panel.form.run.click()
    qtbot.waitUntil(lambda: len(labels_of(panel)) == 1, timeout=TIMEOUT_MS)
    (layer,) = labels_of(panel)
    assert layer.name.endswith("(preview)")
    assert not layer.data.any()
    painted = np.zeros_like(layer.data)
    painted[0, 0, 0] = 2
    put_values(layer, painted)
    gate.set()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=TIMEOUT_MS)
    assert labels_of(panel) == [layer]
    assert "preview" not in layer.name
    assert layer.data[0, 0, 0] == 2
    assert {1, 2} <= set(np.unique(layer.data[1:]))
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)


def msgspec_replace(labels, values):
    import dataclasses

    return dataclasses.replace(labels, values=values)


@pytest.mark.parametrize("stuck_in", ["loading", "tile"])
def test_cancel_is_at_once_and_a_late_result_is_thrown_away(panel, qtbot, halves, stuck_in) -> None:
    gate, ended = threading.Event(), threading.Event()

    class Stuck(halves):
        def predict(self, scan, *, progress):
            if stuck_in == "tile":
                gate.wait(300)
            found = super().predict(scan, progress=lambda *_: None)
            ended.set()
            return found

    def load(_request):
        if stuck_in == "loading":
            gate.wait(300)
            ended.set()
        return Stuck()

    panel.runner = Runner(load=load)
    panel.form.run.click()
    words = "loading the model"
    qtbot.waitUntil(lambda: words in panel.form.job.message.text(), timeout=TIMEOUT_MS)
    qtbot.wait(300)
    panel.form.job.cancel.click()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=TIMEOUT_MS)
    assert not ended.is_set()
    assert panel.form.job.message.text() == "stopped; nothing was added"
    gate.set()
    qtbot.waitUntil(ended.is_set, timeout=TIMEOUT_MS)
    qtbot.wait(300)
    assert not labels_of(panel)
    assert panel.form.job.message.text() == "stopped; nothing was added"


def test_out_of_memory_is_recovered_and_told(panel, qtbot, monkeypatch) -> None:
    from medseg.inference.sliding_window import SlidingWindow

    usual = SlidingWindow.logits

    def scarce(self, image_CIJK, start):
        if max(self.attempt.tile) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return usual(self, image_CIJK, start)

    monkeypatch.setattr(SlidingWindow, "logits", scarce)
    run(panel, qtbot)
    assert "tiles were made smaller" in panel.form.job.message.text()
    (layer,) = labels_of(panel)
    assert (layer.data > 0).sum() > 500

    panel.form.accept.click()
    monkeypatch.setattr(SlidingWindow, "logits", lambda *_: torch.zeros(1 << 60))
    panel.form.run.click()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=TIMEOUT_MS)
    assert "out of memory" in panel.form.job.message.text()
    assert "box" in panel.form.job.message.text()
    assert labels_of(panel) == [layer]


def test_bad_choices_are_told_and_nothing_is_lost(panel, qtbot, shipped, tmp_path) -> None:
    viewer, form = panel.viewer, panel.form
    copy = shutil.copytree(shipped.folder, tmp_path / "model")
    panel.add_model(copy)
    shutil.rmtree(copy)
    form.run.click()
    qtbot.waitUntil(form.run.isEnabled, timeout=TIMEOUT_MS)
    assert "cannot read the weights" in form.job.message.text()

    other = viewer.add_labels(np.ones((4, 5, 6), np.uint8), name="elsewhere")
    form.target.choose(other)
    form.run.click()
    assert "other voxels" in form.job.message.text()
    assert "a new layer" in form.job.message.text()
    assert form.run.isEnabled()
    assert (other.data == 1).all()

    card = msgspec.structs.replace(shipped.manifest.card, modality="CT")
    manifest = msgspec.structs.replace(shipped.manifest, card=card, name="for-ct")
    source = viewer.layers[0].metadata["medseg"]
    viewer.layers[0].metadata["medseg"] = {**source, "modality": "MR"}
    form.model.offer(ModelPackage(tmp_path, manifest))
    form.model.setCurrentIndex(form.model.count() - 1)
    assert "was trained on CT, this scan is MR" in form.warning.text()
    assert LabelTable(()) == table_of(other)


def test_labels_that_are_closed_during_the_run_cost_no_result(panel, qtbot, halves) -> None:
    gate = threading.Event()

    class Waiting(halves):
        def predict(self, scan, *, progress):
            gate.wait(20)
            return super().predict(scan, progress=progress)

    use(panel, Waiting())
    scan = panel.viewer.layers[0]
    target = panel.viewer.add_labels(
        np.zeros(scan.data.shape, np.uint8), scale=scan.scale, translate=scan.translate
    )
    panel.form.target.choose(target)
    panel.form.run.click()
    panel.viewer.layers.remove(target)
    gate.set()
    qtbot.waitUntil(panel.form.run.isEnabled, timeout=TIMEOUT_MS)
    (layer,) = labels_of(panel)
    assert layer is not target
    assert layer.data.any()
