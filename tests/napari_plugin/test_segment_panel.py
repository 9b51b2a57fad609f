"""The Segment panel in a real viewer: run, watch, stop, fail, and look at the pixels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari.layers import Labels

from medseg_napari.inference.run import Runner
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.segment import SegmentPanel


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def open_panel(make_napari_viewer, qtbot):
    """A viewer of 1200 x 800 with the docked panel, as people open it."""

    def _open(path=None) -> tuple:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1200, 800)
        if path is not None:
            viewer.open(str(path), plugin="medseg")
        panel = open_tab(viewer, "Segment")
        assert isinstance(panel, SegmentPanel)
        device = panel.form.device
        qtbot.waitUntil(lambda: "best there is" not in device.currentText(), timeout=60_000)
        return viewer, panel

    return _open


def use(panel: SegmentPanel, predictor, package) -> None:
    panel.runner = Runner(load=lambda _request: predictor)
    panel.form.model.offer(package)
    panel.form.model.setCurrentIndex(panel.form.model.count() - 1)


def idle(panel: SegmentPanel) -> bool:
    return panel.form.run.isEnabled()


def test_run_adds_named_labels_in_the_right_place(
    open_panel, qtbot, hippocampus, package, halves, near_color, save_picture
) -> None:
    viewer, panel = open_panel(hippocampus)
    predictor = halves()
    use(panel, predictor, package)
    assert "Dice 0.50" in panel.form.about.text()
    panel.form.run.click()
    assert not idle(panel)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and idle(panel), timeout=30_000)

    image, labels = viewer.layers
    assert isinstance(labels, Labels)
    assert labels.name == "hippocampus_001: halves"
    assert list(labels.features["name"]) == ["background", "anterior", "posterior"]
    np.testing.assert_array_equal(labels.scale, image.scale)
    np.testing.assert_array_equal(labels.translate, image.translate)
    assert panel.form.job.message.text().startswith("done in")
    assert "CPU" in panel.form.device.currentText() or "cuda" in panel.form.device.currentText()
    grid = predictor.scans[0].grid
    assert grid.affine.tobytes() == image.metadata["medseg"]["grid"].affine.tobytes()

    picture = save_picture(viewer, "segment-panel.png")
    assert picture.shape[:2] == (800, 1200)
    labels.opacity = 1.0
    canvas = viewer.screenshot(canvas_only=True, flash=False)
    for label in labels.metadata["medseg"]["table"]:
        share = near_color(canvas, label.color, 8).mean()
        assert share > 0.005, f"{label.name} covers {share:.2%} of the canvas"


def test_cancel_stops_and_adds_nothing(open_panel, qtbot, hippocampus, package, halves) -> None:
    viewer, panel = open_panel(hippocampus)
    use(panel, halves(tiles=500, seconds_per_tile=0.05), package)
    panel.form.run.click()
    qtbot.waitUntil(lambda: "of 500" in panel.form.job.message.text(), timeout=10_000)
    qtbot.waitUntil(lambda: "left" in panel.form.job.message.text(), timeout=10_000)
    assert panel.form.job.bar.isVisible()
    panel.form.job.cancel.click()
    qtbot.waitUntil(lambda: idle(panel), timeout=5_000)
    assert len(viewer.layers) == 1
    assert panel.form.job.message.text() == "stopped; nothing was added"
    assert not panel.form.job.bar.isVisible()


def test_an_error_is_told_and_run_is_possible_again(
    open_panel, qtbot, hippocampus, package, halves, broken
) -> None:
    viewer, panel = open_panel(hippocampus)
    use(panel, broken(), package)
    panel.form.run.click()
    qtbot.waitUntil(lambda: "boom" in panel.form.job.message.text(), timeout=10_000)
    assert idle(panel)
    assert len(viewer.layers) == 1

    use(panel, halves(), package)
    panel.form.run.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and idle(panel), timeout=10_000)


def test_a_foreign_layer_is_warned_about_and_can_be_reopened(
    open_panel, qtbot, hippocampus, package, halves
) -> None:
    viewer, panel = open_panel()
    assert panel.form.scans.layer() is None
    panel.form.run.click()
    assert "open a scan first" in panel.form.job.message.text()

    data = np.random.default_rng(0).normal(size=(12, 20, 16)).astype(np.float32)
    foreign = viewer.add_image(data, scale=(3, 1, 1), translate=(5, 6, 7), name="foreign")
    assert panel.form.scans.layer() is foreign
    assert "not opened with medseg" in panel.form.warning.text()
    assert not panel.form.reopen.isVisible()
    use(panel, halves(), package)
    panel.form.run.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and idle(panel), timeout=10_000)
    assert "not opened with medseg" in panel.form.warning.text(), "as long as it is chosen"
    np.testing.assert_array_equal(viewer.layers[1].scale, foreign.scale)
    np.testing.assert_array_equal(viewer.layers[1].translate, foreign.translate)

    viewer.layers.clear()
    assert panel.form.scans.layer() is None
    (opened,) = viewer.open(str(hippocampus), plugin="medseg")
    opened.metadata.clear()
    panel.form.scans.currentIndexChanged.emit(0)
    assert panel.form.reopen.isVisible()
    panel.form.reopen.click()
    assert "medseg" in viewer.layers[-1].metadata
    assert panel.form.scans.layer() is viewer.layers[-1]
    assert panel.form.warning.text() == ""


def test_the_shipped_model_finds_the_hippocampus(
    open_panel, qtbot, hippocampus, save_picture
) -> None:
    from medseg.errors import PackageError
    from medseg.model_package import find_package

    try:
        find_package("hippocampus-mr")
    except PackageError:
        pytest.skip("the model hippocampus-mr is not shipped yet")
    import nibabel as nib

    viewer, panel = open_panel(hippocampus)
    panel.form.model.choose(find_package("hippocampus-mr"))
    panel.form.run.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and idle(panel), timeout=60_000)
    save_picture(viewer, "hippocampus.png")
    truth = np.asarray(nib.load(str(hippocampus).replace("images", "labels")).dataobj)
    found = viewer.layers[1].data[::-1, ::-1, ::-1].transpose(2, 1, 0) > 0
    assert 2 * (found & (truth > 0)).sum() / (found.sum() + (truth > 0).sum()) > 0.8


def test_a_folder_without_a_model_is_told(open_panel, tmp_path) -> None:
    _, panel = open_panel()
    before = panel.form.model.count()
    panel.add_model(tmp_path)
    assert panel.form.model.count() == before
    assert tmp_path.name in panel.form.job.message.text()
    assert "error" not in panel.form.job.message.text().lower()


def test_closing_the_window_stops_the_work(open_panel, qtbot, hippocampus, package, halves) -> None:
    viewer, panel = open_panel(hippocampus)
    use(panel, halves(tiles=2000, seconds_per_tile=0.01), package)
    panel.form.run.click()
    cancel = panel.form.job.runner.current.cancel
    assert not cancel.is_set()
    viewer.close()
    qtbot.waitUntil(cancel.is_set, timeout=5_000)
