"""Two processes that share each batch learn what one learns, and end together."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from medseg.errors import InputError
from medseg.planning.plan import encode
from medseg.training.history import read_history
from medseg.training.ranks import Ranks, ranks
from medseg.training.state import read_state
from toy_dataset import TOY_PLAN, write_toy

SLURM = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}


DIES = """
import os, signal
from medseg.training.ranks import ranks
from medseg.training.step import TrainingStep
from medseg_pipelines.cli import main

whole, calls = TrainingStep.gradients, []

def gradients(self, *batch, **options):
    calls.append(1)
    if ranks().rank == 1 and len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, *batch, **options)

TrainingStep.gradients = gradients
main()
"""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def medseg(*words, by=("-m", "medseg_pipelines")):
    """A training in processes of its own; code and text."""
    command = [sys.executable, *map(str, by), "train", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    write_toy(place / "toy")
    (place / "plan.json").write_bytes(encode(TOY_PLAN))
    return place


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(folder, tmp_path):
    how = ("--plan", folder / "plan.json", "--steps", 6, "--validations", 2, "--device", "cpu")
    texts = []
    for devices, name in (((), "one"), (("--devices", 2), "two")):
        code, text = medseg(folder / "toy", "--output", tmp_path / name, *how, *devices)
        assert code == 0, text
        texts.append(text)
    one, two = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    weights = [name for name in one if name.startswith("network.")]
    assert one.keys() == two.keys()
    before = torch.cat([one[name].flatten() for name in weights])
    after = torch.cat([two[name].flatten() for name in weights])
    assert (before - after).norm() < 1e-2 * before.norm()
    losses = [
        [row["loss"] for row in read_history(tmp_path / name) if "loss" in row]
        for name in ("one", "two")
    ]
    assert len(losses[1]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert texts[1].count("The model is in") == 1
    manifest = json.loads((tmp_path / "two" / "model" / "manifest.json").read_text())
    assert manifest["provenance"]["batch"] == "2"


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_and_the_run_goes_on(folder, tmp_path):
    run, script = tmp_path / "run", tmp_path / "dies.py"
    script.write_text(DIES)
    words = (folder / "toy", "--output", run, "--plan", folder / "plan.json", "--device", "cpu")
    code, text = medseg(*words, "--steps", 6, by=(*TORCHRUN, script))
    assert code != 0
    assert text.count("another of the 2 processes of this training ended") == 1
    assert read_state(run / "checkpoint.safetensors").step == 3
    code, text = medseg("--output", run, "--resume", by=(*TORCHRUN, "-m", "medseg_pipelines"))
    assert code == 0, text
    assert read_state(run / "checkpoint.safetensors").step == 6


@pytest.mark.slow
def test_what_one_process_cannot_do_ends_all_in_one_sentence(folder, tmp_path):
    run = tmp_path / "run"
    words = (folder / "toy", "--output", run, "--plan", folder / "plan.json", "--device", "cpu")
    code, text = medseg(*words, "--steps", 4, "--batch", 1, "--devices", 2)
    assert code == 2
    assert text.count("a step of 1 patches cannot be shared by 2 devices") == 1
    assert "Traceback" not in text
    assert not run.exists()


def test_the_place_of_a_process():
    assert ranks({}) == Ranks()
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert ranks({**torchrun, "TORCHELASTIC_RUN_ID": "x"}) == Ranks(3, 4, 1, 2)
    assert ranks({**SLURM, "SLURM_STEP_NUM_NODES": "2"}) == Ranks(3, 4, 1, 2)
    assert ranks({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) == Ranks()  # a script without srun


def test_a_batch_that_leaves_a_device_idle_is_refused():
    Ranks(0, 2, 0, 2).check_batch(2)
    with pytest.raises(InputError, match=r"2 patches cannot be shared by 3 devices.*--batch 3"):
        Ranks(0, 3, 0, 3).check_batch(2)
