"""The Train panel in a real viewer: cases added, a real process left, found again, resumed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt

from medseg.errors import InputError
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.reading import read_scan
from medseg.training.run_status import run_status, stop_run
from medseg.training.state import read_state
from medseg.writing import write_scan
from medseg_napari.panels.dock import open_tab
from medseg_napari.panels.train import TrainPanel
from medseg_napari.training import model_list
from toy_model import tiny_model

STEPS = 100_000
"""More than a test waits for: the run is stopped, and shortened."""
TINY = (
    "features=[4,8]",
    "strides=[[1,1,1],[2,2,2]]",
    "kernels=[[3,3,3],[3,3,3]]",
    "deep_supervision=false",
)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for run in (tmp_path / "runs").glob("*/"):
        with contextlib.suppress(InputError):
            stop_run(run)


@pytest.fixture
def open_train(make_napari_viewer):
    def _open() -> tuple:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1300, 1000)
        panel = open_tab(viewer, "Train")
        assert isinstance(panel, TrainPanel)
        return viewer, panel

    return _open


def add_cases(viewer, panel, qtbot, hippocampus: Path, numbers: tuple[str, ...]) -> None:
    """Open scan and labels of each, and press Add."""
    page = panel.cases
    for count, number in enumerate(numbers, start=1):
        viewer.layers.clear()
        for kind in ("images", "labels"):
            path = hippocampus.parents[1] / kind / f"hippocampus_{number}.nii.gz"
            viewer.open(str(path), plugin="medseg")
        page.add.click()
        qtbot.waitUntil(lambda n=count: page.table.rowCount() == n, timeout=30_000)


def assert_sources_are_kept(dataset: Path, hippocampus: Path, numbers: tuple[str, ...]) -> None:
    """Each case is one of the scans, voxel by voxel, with its affine bit for bit."""
    records = json.loads((dataset / "cases.json").read_text())["cases"]
    assert [record["status"] for record in records] == ["reviewed"] * len(numbers)
    sources = [read_scan(hippocampus.parent / f"hippocampus_{n}.nii.gz") for n in numbers]
    for record in records:
        assert record["name"].startswith("case-")
        image = read_scan(dataset / "images" / f"{record['name']}.nii.gz")
        assert any(
            image.grid.affine.tobytes() == one.grid.affine.tobytes()
            and np.array_equal(image.voxels, one.voxels)
            for one in sources
        )


def train_until_a_step_is_seen(page, qtbot) -> None:
    page.steps, device = STEPS, page.form.device
    page.form.settings.setText("; ".join(TINY))
    qtbot.waitUntil(lambda: "the best there is" not in device.currentText(), timeout=30_000)
    device.addItem("CPU", "cpu")
    device.setCurrentIndex(device.count() - 1)
    page.form.train.click()
    assert not page.form.train.isEnabled()
    qtbot.waitUntil(
        lambda: page.status is not None and len(page.status.losses) > 0, timeout=180_000
    )
    assert page.form.state.text().startswith("running: step")


def stop_and_resume_to_the_end(page, qtbot) -> None:
    qtbot.waitUntil(lambda: page.status is not None and page.form.stop.isEnabled(), timeout=30_000)
    page.form.stop.click()
    qtbot.waitUntil(page.form.resume.isEnabled, timeout=60_000)
    assert not page.form.stop.isEnabled()
    qtbot.waitUntil(lambda: "Resume goes on" in page.form.job.message.text(), timeout=5_000)
    look_at_the_checkpoint(page, qtbot)
    last = shorten(page.run)
    with qtbot.waitSignal(page.finished, timeout=300_000):
        page.form.resume.click()
    assert [step for step, _ in page.status.losses] == list(range(1, last + 1))
    assert page.form.plot.losses[-1][0] == page.form.plot.dices[-1][0] == last
    assert page.form.train.isEnabled()


def look_at_the_checkpoint(page, qtbot) -> None:
    """Twice: the second press finds the same case and the same step, and adds nothing."""
    viewer, step = page.viewer, read_state(page.run / "checkpoint.safetensors").step
    for _ in range(2):
        page.form.sample.click()
        qtbot.waitUntil(lambda: not page.form.job.busy, timeout=60_000)
        names = [layer.name.split(": ")[-1] for layer in viewer.layers]
        assert names[1:] == ["truth", f"model at step {step}"], page.form.job.message.text()
    viewer.layers.clear()


def shorten(run: Path) -> int:
    """Let the run end some steps after where it was stopped; gives its last step."""
    checkpoint, options = run / "checkpoint.safetensors", run / "options.json"
    state = read_state(checkpoint)
    assert 0 < state.step < STEPS
    last = state.step + 6
    shorter = msgspec.structs.replace(state, total_steps=last)
    tensors = load_file(checkpoint)
    save_file(tensors, checkpoint, metadata={"state": msgspec.json.encode(shorter).decode()})
    stored = msgspec.json.decode(options.read_bytes())
    options.write_bytes(msgspec.json.encode(stored | {"steps": last}))
    return last


@pytest.mark.slow
def test_from_corrected_cases_to_a_model(
    open_train, qtbot, hippocampus, tmp_path, save_picture
) -> None:
    viewer, panel = open_train()
    panel.use(tmp_path / "set")
    add_cases(viewer, panel, qtbot, hippocampus, ("001", "003"))
    assert_sources_are_kept(tmp_path / "set", hippocampus, ("001", "003"))
    panel.cases.check.click()
    qtbot.waitUntil(lambda: "2 of 2 cases" in panel.cases.findings.text(), timeout=30_000)
    assert panel.cases.job.message.text() == "ready to train"
    save_picture(viewer, "train-cases.png")

    panel.pages.setCurrentIndex(1)
    train_until_a_step_is_seen(panel.training, qtbot)
    run = panel.training.run
    viewer.close()
    assert run_status(run).phase == "running", "the process outlives the viewer"
    assert msgspec.json.decode((run / "options.json").read_bytes())["device"] == "cpu"

    viewer, panel = open_train()
    page = panel.training
    assert page.run == run
    assert panel.cases.table.rowCount() == 2, "the dataset of the run is taken up"
    stop_and_resume_to_the_end(page, qtbot)
    assert "list of models: mean Dice" in page.form.state.text()
    assert [one.folder for one in model_list.all()] == [run / "model"]
    assert panel.next_case.models.package().folder == run / "model"
    assert page.form.start.findText("set (Dice", Qt.MatchFlag.MatchStartsWith) >= 0

    segment = open_tab(viewer, "Segment")
    assert segment.form.model.findText("set (Dice", Qt.MatchFlag.MatchStartsWith) >= 0
    panel.pages.setCurrentIndex(1)
    panel.raise_()
    page.form.sample.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=60_000)
    assert [layer.name.split(": ")[-1] for layer in viewer.layers[1:]] == ["truth", "model"]
    save_picture(viewer, "train-run.png")


@pytest.mark.slow
def test_a_run_that_fails_says_why(open_train, qtbot, tmp_path) -> None:
    _, panel = open_train()
    page = panel.training
    for show_message, press in ((panel.cases, panel.cases.add), (page.form, page.form.train)):
        press.click()
        assert "folder of the dataset" in show_message.job.message.text()
    (tmp_path / "empty").mkdir()
    panel.use(tmp_path / "empty")
    panel.cases.add.click()
    assert "open a scan" in panel.cases.job.message.text()
    page.form.train.click()
    qtbot.waitUntil(lambda: "is no dataset" in page.form.job.message.text(), timeout=60_000)
    qtbot.waitUntil(page.form.train.isEnabled, timeout=5_000)
    assert not page.form.stop.isEnabled()


@pytest.mark.slow
def test_a_wrong_setting_is_told_by_name(open_train, qtbot, hippocampus, tmp_path) -> None:
    viewer, panel = open_train()
    panel.use(tmp_path / "set")
    add_cases(viewer, panel, qtbot, hippocampus, ("001", "003"))
    page = panel.training
    page.form.settings.setText("wings=2")
    page.form.train.click()
    qtbot.waitUntil(lambda: "wings" in page.form.job.message.text(), timeout=60_000)
    qtbot.waitUntil(page.form.train.isEnabled, timeout=5_000)


def test_a_status_is_changed_in_the_table(open_train, qtbot, hippocampus, tmp_path) -> None:
    viewer, panel = open_train()
    panel.use(tmp_path / "set")
    add_cases(viewer, panel, qtbot, hippocampus, ("001",))
    name = panel.cases.table.item(0, 0).text()
    panel.cases.table.cellWidget(0, 1).setCurrentText("draft")
    assert f"{name} is draft" in panel.cases.job.message.text()
    assert '"draft"' in (tmp_path / "set" / "cases.json").read_text()
    viewer.layers.clear()
    panel.cases.table.cellDoubleClicked.emit(0, 0)
    assert len(viewer.layers) == 2


def test_the_scan_to_correct_next_is_ranked_and_opened(
    open_train, qtbot, tmp_path, save_picture
) -> None:
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    grid = ct_grid(shape=(24, 20, 16), spacing_mm=(12.0, 12.0, 14.0))
    for seed in range(3):
        write_scan(abdominal_ct(seed, grid)[0], folder / f"scan{seed}.nii.gz")
    viewer, panel = open_train()
    page = panel.next_case
    page.rank_scans.click()
    assert "folder of scans" in page.job.message.text()
    package = model_list.add(tiny_model(tmp_path / "model").folder)
    page.models.choose(package)
    assert page.models.currentText() == "tiny (Dice 0.25)"
    page.use(folder)
    panel.pages.setCurrentIndex(2)
    page.rank_scans.click()
    qtbot.waitUntil(lambda: page.table.rowCount() == 3, timeout=60_000)
    shown = [float(page.table.item(number, 1).text()) for number in range(3)]
    assert shown == sorted(shown, reverse=True)
    assert page.job.message.text() == "3 scans ranked"
    page.table.cellDoubleClicked.emit(0, 0)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=30_000)
    assert viewer.layers[0].name == page.rows[0].source.name
    save_picture(viewer, "train-next.png")
