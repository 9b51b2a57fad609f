import json
import os
import signal
import subprocess
import sys
import time

import pytest

from medseg.model_package import ModelPackage
from medseg.phantoms import ABDOMEN_LABELS, abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.training import CaseFolder
from medseg.training.history import read_history
from medseg.writing import write_labels, write_scan


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tiny"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    grid = ct_grid(shape=(24, 18, 16), spacing_mm=(14.0, 14.0, 16.0))
    for seed in range(3):
        scan, truth = abdominal_ct(seed, grid)
        write_scan(scan, folder / "images" / f"case{seed}.nii.gz")
        write_labels(truth, folder / "labels" / f"case{seed}.nii.gz")
    about = {
        "name": "tiny",
        "channel_names": {"0": "CT"},
        "labels": {label.name: label.value for label in ABDOMEN_LABELS},
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def test_training_ends_in_a_model_that_segments(run, dataset, tmp_path, scan_file):
    folder = tmp_path / "runs" / "one"
    arguments = ("train", dataset, "--output", folder, "--device", "cpu")
    result = run(*arguments, "--steps", "3", "--name", "tiny-ct")
    assert result.exit_code == 0, result.output
    assert ModelPackage.open(folder / "model").manifest.name == "tiny-ct"
    assert str(folder / "model") in result.output
    assert "mean_over_labels" in result.output
    again = run(*arguments)
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    output = tmp_path / "out.nii.gz"
    assert run("segment", scan_file, "--model", folder, "--output", output).exit_code == 0


def test_there_must_be_a_run_to_resume(run, dataset, tmp_path):
    result = run("train", dataset, "--output", tmp_path / "none", "--resume")
    assert result.exit_code == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_keeps_a_checkpoint_and_says_how_to_go_on(dataset, model, tmp_path):
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-c",
        "from medseg_pipelines.cli import main; main()",
        "train",
        str(dataset),
        "--output",
        str(folder),
        "--steps",
        "100000",
        "--device",
        "cpu",
        "--from",
        str(model),
    ]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        while process.poll() is None and not any("loss" in row for row in read_history(folder)):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert list(folder.glob("checkpoint*"))
    assert not (folder / "model").exists()


@pytest.mark.slow
def test_a_run_of_epochs_is_resumed_for_more_of_them(run, dataset, tmp_path):
    folder = tmp_path / "run"
    start = run("train", dataset, "--device", "cpu", "--epochs", "1", "--output", folder)
    assert start.exit_code == 0, start.output
    of_one = len([row for row in read_history(folder) if "loss" in row])
    more = ("train", "--output", folder, "--resume", "--epochs", "2")
    longer = run(*more)
    assert longer.exit_code == 0, longer.output
    assert len([row for row in read_history(folder) if "loss" in row]) == 2 * of_one
    assert f"finished after {2 * of_one} steps" in " ".join(run(*more).output.split())


def test_a_run_goes_on_as_it_began(run, dataset, tmp_path):
    folder = tmp_path / "run"
    arguments = ("train", dataset, "--device", "cpu", "--steps", "2", "--learning-rate", "0.001")
    assert run(*arguments, "--seed", "3", "--output", folder).exit_code == 0
    again = run("train", "--output", folder, "--resume")
    assert again.exit_code == 0
    assert "finished after 2 steps" in " ".join(again.output.split())
    assert "Trained" not in again.output
    for others in (
        ("--seed", "0"),
        ("--fold", "all"),
        ("--learning-rate", "0.1"),
        ("--loss", "tversky"),
        ("--from", "hippocampus-mr"),
    ):
        refused = run(*arguments[:4], "--output", folder, "--resume", *others)
        assert refused.exit_code == 2
        assert " ".join(others) in refused.stderr
    longer = run("train", "--output", folder, "--resume", "--steps", "3", "--device", "auto")
    assert longer.exit_code == 0, longer.output
    options = json.loads((folder / "options.json").read_text())
    assert (options["steps"], options["seed"], options["device"]) == (3, 3, "auto")
    assert [row["step"] for row in read_history(folder) if "loss" in row] == [1, 2, 3]
    plan = folder / "plan.json"
    same = run("train", "--output", folder, "--resume", "--plan", plan, "--steps", "3")
    assert same.exit_code == 0, same.output
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(json.loads(plan.read_text()) | {"overlap": 0.25}))
    refused = run("train", "--output", folder, "--resume", "--plan", changed)
    assert "not that of the run" in refused.stderr


def test_options_that_a_plan_decides_are_refused(run, dataset, tmp_path):
    assert run("train", dataset, "--output", tmp_path / "a", "--steps", "1").exit_code == 0
    plan = ("--plan", tmp_path / "a" / "plan.json")
    for option, value in (("--network", "fcn"), ("--loss", "tversky"), ("--plane", "axial")):
        other = ("--output", tmp_path / "b", option, value)
        refused = run("train", dataset, *plan, *other)
        assert refused.exit_code == 2
        assert f"{option[2:]} {value} was asked for" in refused.stderr
        assert not (tmp_path / "b").exists()


def test_a_failed_start_is_no_run(run, dataset, tmp_path):
    start = ("train", dataset, "--output", tmp_path / "run", "--device", "cpu", "--steps", "1")
    assert run(*start, "--set", "features=[4,8]").exit_code == 2
    assert not (tmp_path / "run").exists()
    assert run(*start).exit_code == 0
    assert "'DATASET'" in run("train", "--output", tmp_path / "other").stderr


def test_an_unknown_fold_or_dataset_is_bad_input(run, dataset, tmp_path):
    for arguments in ((dataset, "--fold", "7"), (tmp_path / "nothing",)):
        result = run("train", *arguments, "--output", tmp_path / "run")
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_fine_tuning_shows_the_score_before(run, dataset, model, tmp_path):
    folder = tmp_path / "run"
    arguments = ("train", dataset, "--device", "cpu", "--steps", "1", "--from", model)
    result = run(*arguments, "--output", folder)
    assert result.exit_code == 0, result.output
    assert "before" in result.output
    manifest = ModelPackage.open(folder / "model").manifest
    assert manifest.provenance["started from"] == "tiny 1"
    assert manifest.plan == ModelPackage.open(model).manifest.plan
    names = tmp_path / "labels.json"
    names.write_text(json.dumps({"1": "liver"}))
    refused = run(*arguments, "--output", tmp_path / "other", "--labels", names)
    assert refused.exit_code == 2
    assert "which its label table does not know (1=liver)" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_only_reviewed_cases_are_trained_on_unless_asked(run, model, tmp_path):
    grid = ct_grid(shape=(24, 18, 16), spacing_mm=(14.0, 14.0, 16.0))
    folder = CaseFolder(tmp_path / "set")
    for seed, status in enumerate(("draft", "draft", "reviewed")):
        folder.add(*abdominal_ct(seed, grid), status=status)
    arguments = ("train", folder.path, "--device", "cpu", "--steps", "1", "--from", model)
    result = run(*arguments, "--output", tmp_path / "all", "--cases", "draft")
    assert "3 cases" in result.output
    alone = run(*arguments, "--output", tmp_path / "one", "--fold", "all")
    assert "1 cases" in alone.output
    folder.set_status(next(one.name for one in folder.records() if one.status == "reviewed"), "raw")
    refused = run(*arguments, "--output", tmp_path / "none")
    assert refused.exit_code == 2
    assert "--cases draft" in refused.stderr
