"""A console of another code page: names in letters that it lacks stop no command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import medseg
from medseg.planning.plan import encode
from medseg.training import TrainingOptions
from toy_dataset import TOY_PLAN, write_toy

ONE_AFTER_ANOTHER = """
import json, sys
from medseg_pipelines.cli import main

for sys.argv[1:] in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
LIVER, CORE, PLACE = "肝臓", "Ядро", "患者Ж"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset, a plan and a trained model, all in a folder that cp1252 cannot write."""
    root = tmp_path_factory.mktemp("pages") / PLACE
    data = write_toy(root / "data", cases=3)
    labels = json.dumps({"1": LIVER, "2": CORE}, ensure_ascii=False)
    (data / "labels.json").write_text(labels, encoding="utf-8")
    for part in ("images", "labels"):
        (data / part / "c1.nii.gz").rename(data / part / f"{PLACE}.nii.gz")
    (root / "plan.json").write_bytes(encode(TOY_PLAN))
    options = TrainingOptions(steps=1, device="cpu")
    medseg.train(data, root / "run", options=options, plan=TOY_PLAN)
    return root


def words(root):
    return ("--plan", root / "plan.json", "--steps", 1, "--device", "cpu")


def on_page(page, *lines):
    """Run commands one after another, up to the first that fails."""
    env = {**os.environ, "PYTHONIOENCODING": page, "PYTHONUTF8": "0"}
    arguments = json.dumps([[str(word) for word in line] for line in lines])
    command = [sys.executable, "-c", ONE_AFTER_ANOTHER, arguments]
    return subprocess.run(command, capture_output=True, env=env, check=False)


@pytest.mark.slow
def test_no_letter_stops_a_command(root, tmp_path):
    data, model = root / "data", ("--model", root / "run", "--device", "cpu")
    image, truth, table = data / "images" / f"{PLACE}.nii.gz", data / "labels", data / "labels.json"
    weights = ("--class-weights", f"{CORE}=2")
    lines = [
        ("train", data, *words(root), *weights, "--output", tmp_path / PLACE),
        ("segment", image, *model, "--output", tmp_path / f"{PLACE}.nii.gz"),
        ("batch", data / "images", *model, "--output", tmp_path / f"{PLACE}s"),
        ("evaluate", truth, truth, "--labels", table, "--output", tmp_path / "s.json"),
        ("plan", "explain", root / "plan.json"),
        ("dataset", "check", data),
    ]
    done = on_page("cp1252:strict", *lines)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"UnicodeEncodeError" not in done.stderr + done.stdout


@pytest.mark.slow
def test_a_refusal_of_such_a_name_has_its_exit_code(root, tmp_path):
    run = ("--output", tmp_path / "run")
    weights = ("--class-weights", "Печень=2")
    done = on_page("cp1252:strict", ("train", root / "data", *words(root), *weights, *run))
    assert done.returncode == 2
    assert b"\\u041f\\u0435" in done.stderr
    assert b"Traceback" not in done.stderr
