"""Several folds at the command line, from a dataset to one model and its label map."""

import json
import os
import random
import signal
import subprocess
import sys

import pytest

from medseg.model_package import find_package
from medseg.planning.plan import encode
from toy_dataset import TOY_PLAN, write_toy


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_bytes(encode(TOY_PLAN))
    return path


OPTIONS = ("--steps", "4", "--validations", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def arguments(dataset, plan):
    return ("train", dataset, "--plan", plan, *OPTIONS)


def test_folds_are_trained_shown_resumed_compared_and_segment(run, arguments, dataset, tmp_path):
    folder = tmp_path / "folds"
    result = run(*arguments, "--output", folder, "--folds", "0,1")
    assert result.exit_code == 0, result.output
    assert "mean over folds" in result.output
    assert f"The model of all folds is in {folder / 'model'}" in result.output
    again = run("train", "--output", folder, "--resume")
    assert again.exit_code == 0, again.output
    assert "mean over folds" in again.output
    info = run("models", "info", folder)
    assert "fold 1" in info.output
    scores = json.loads((folder / "out_of_fold" / "scores.json").read_text())
    own = tmp_path / "scores.json"
    maps = folder / "out_of_fold"
    assert run("evaluate", maps, dataset, "--output", own, "--subset").exit_code == 0
    evaluated = json.loads(own.read_text())
    assert evaluated["cases"] == scores["cases"]
    assert evaluated["mean"] == scores["mean"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("held-out cases", "best: c", "Training of fold 0", "Training of fold 1"):
        assert words in page
    assert str(tmp_path) not in page
    again = run("report", folder, "--output", tmp_path / "again.html")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page
    best = tmp_path / "best"
    chosen = run("ensemble", folder, "--output", best, "--average", "--device", "cpu")
    assert chosen.exit_code == 0, chosen.output
    assert "averaged weights" in chosen.output
    output = tmp_path / "labels.nii.gz"
    scan = dataset / "images" / "c0.nii.gz"
    assert run("segment", scan, "--model", folder, "--output", output).exit_code == 0
    alone = run("models", "export", folder, "--fold", "1", "--output", tmp_path / "one.ts")
    assert alone.exit_code == 0, alone.output
    whole = run("models", "export", folder, "--output", tmp_path / "all.ts")
    assert "Folds:  0, 1, all in one" in whole.output
    none = run("models", "export", folder, "--fold", "4", "--output", tmp_path / "none.ts")
    assert none.exit_code == 2
    assert "has no fold 4; it has 0, 1" in none.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--folds", "0-4"), "'0-4' is neither all nor numbers"),
        (("--folds", "0,7"), "fold 7 does not exist"),
        (("--folds", "0,1", "--fold", "0"), "--fold is of one fold and --folds of several"),
        (("--devices", "cpu,cpu"), "--devices takes a number"),
        (("--folds", "all", "--devices", "cuda:40"), "cuda:40"),
        (("--folds", "all", "--epochs", "2"), "each say how long"),
    ],
)
def test_options_that_cannot_be_are_told_in_one_sentence(run, arguments, tmp_path, options, words):
    result = run(*arguments, "--output", tmp_path / "run", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(dataset, plan, tmp_path):
    program = [sys.executable, "-c", "from medseg_pipelines.cli import main; main()"]
    common = ["--plan", plan, *OPTIONS, "--folds", "0,1"]
    subprocess.run(
        [*program, "train", dataset, *common, "--output", tmp_path / "whole"], check=True
    )
    moments = random.Random(5)
    killed = tmp_path / "killed"
    for _ in range(20):
        begun = (killed / "options.json").is_file()
        command = ["--resume"] if begun else [dataset, *common]
        process = subprocess.Popen([*program, "train", "--output", killed, *command])
        try:
            assert process.wait(moments.uniform(3, 12)) == 0
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run([*program, "train", "--output", killed, "--resume"], check=True)
    digests = [
        [fold.sha256 for fold in find_package(tmp_path / name).manifest.folds]
        for name in ("whole", "killed")
    ]
    assert digests[0] == digests[1]
