"""Runs that are stopped, killed and taken up again end where an undisturbed run ends."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from msgspec import structs
from safetensors.torch import load_file, save_file

from medseg.errors import Cancelled, InputError, MedsegError, ReadError
from medseg.inference import Predictor
from medseg.networks.encoders import EncoderSettings, build_encoder
from medseg.planning import Component
from medseg.planning.plan import encode
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.history import read_history
from medseg.training.recipe import Recipe
from medseg.training.state import read_state
from medseg.volume import Grid, Scan
from toy_dataset import TOY_PLAN, toy_case, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(
    steps=12, validations=2, device="cpu", recipe=Recipe(optimizer="adamw", learning_rate=1e-2)
)
KILLED = """
import os, signal, sys
from pathlib import Path
import msgspec, torch
torch.set_num_threads(1)
from medseg.planning import read_plan
from medseg.training import TrainingOptions, checkpoint, open_dataset, train, trainer
trainer.SECONDS_BETWEEN_CHECKPOINTS = 0.0  # after every step
whole = checkpoint.save_file

def save_or_die(tensors, path, metadata):
    if msgspec.json.decode(metadata["state"])["step"] < 8:
        return whole(tensors, path, metadata)
    Path(path).write_bytes(b"half of a checkpoint")
    os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = save_or_die
_, folder, run, plan, options = sys.argv
options = msgspec.json.decode(options, type=TrainingOptions)
train(open_dataset(folder), Path(run), options=options, plan=read_plan(Path(plan)))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_toy(tmp_path_factory.mktemp("data") / "toy"))


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(dataset, run, options=OPTIONS, plan=TOY_PLAN)
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")


def assert_same(run: Path, other: Path) -> None:
    others = weights(other)
    for name, value in weights(run).items():
        torch.testing.assert_close(others[name], value, rtol=1e-4, atol=1e-5, msg=name)
    losses = [[row["loss"] for row in read_history(r) if "loss" in row] for r in (run, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_run_learns_measures_and_packs(dataset, tmp_path):
    run = tmp_path / "run"
    train(dataset, run, options=structs.replace(OPTIONS, steps=150), plan=TOY_PLAN)
    predictor = Predictor.load(run, device="cpu")
    image, labels = toy_case(99)
    found = predictor.predict(
        Scan(image[None], Grid(image.shape, np.diag([1.2, 1.2, 1.2, 1])), "MR")
    )
    for value in (1, 2):
        mask, truth = found.values == value, labels == value
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
    manifest = json.loads((run / "model" / "manifest.json").read_text())
    assert manifest["scores"]["mean_over_labels"] > 0.8
    assert [label["name"] for label in manifest["labels"]["labels"]] == ["box", "core"]
    assert list((run / "tensorboard").iterdir())
    assert not list(run.rglob("*.pt")) + list(run.rglob("*.pkl"))


def stop_after(step):
    """A progress that cancels a run after one of its steps."""

    def progress(done, total, message):
        if done == step and message.startswith("training"):
            raise Cancelled("enough")

    return progress


def test_cancel_keeps_the_work_and_resume_ends_the_same(dataset, undisturbed, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(dataset, run, options=OPTIONS, plan=TOY_PLAN, progress=stop_after(6))
    assert max(record["step"] for record in read_history(run)) == 6
    train(dataset, run, options=OPTIONS, resume=True)
    assert_same(undisturbed, run)


def test_dropout_resumes_where_it_stopped(dataset, tmp_path):
    settings = {
        "encoder": {"width": 0.125, "output_stride": 8},
        "bins": [1, 2],
        "features": 16,
        "auxiliary_features": 8,
    }
    plan = structs.replace(TOY_PLAN, network=Component(name="pspnet", settings=settings))
    options = TrainingOptions(steps=4, validations=0, device="cpu")
    train(dataset, tmp_path / "whole", options=options, plan=plan)
    with pytest.raises(Cancelled):
        train(dataset, tmp_path / "run", options=options, plan=plan, progress=stop_after(2))
    train(dataset, tmp_path / "run", options=options, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_published_weights_survive_a_stop_before_the_first_step(dataset, tmp_path):
    settings = EncoderSettings(name="mobilenet_v3")
    torch.manual_seed(99)  # not what the run's own seed gives
    encoder = build_encoder(settings, spatial_dims=3, in_channels=1)
    save_file(encoder.state_dict(), tmp_path / "weights.safetensors")

    def stop_while_preparing(done, total, message):
        if message == "preparing":
            raise Cancelled("enough")

    options = TrainingOptions(
        steps=1,
        validations=0,
        device="cpu",
        learning_rate=1e-9,
        pretrained=str(tmp_path / "weights.safetensors"),
    )
    network = {"encoder": {"name": "mobilenet_v3"}, "features": [4] * 5}
    plan = structs.replace(TOY_PLAN, network=Component(name="encoder_unet", settings=network))
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(dataset, run, options=options, plan=plan, progress=stop_while_preparing)
    train(dataset, run, options=options, resume=True)
    trained = load_file(run / "model" / "weights.safetensors")
    (first,) = (name for name in trained if name.endswith("features.0.0.weight"))
    given = encoder.state_dict()["features.0.0.weight"]
    assert torch.allclose(trained[first].float(), given, atol=1e-3)
    assert given.std() > 0.05


def test_a_model_is_packed_whatever_comes_of_the_postprocessing_search(
    dataset, tmp_path, monkeypatch
):
    def fails(*_, **__):
        raise MedsegError("no step")

    monkeypatch.setattr("medseg.training.run.choose_postprocessing", fails)
    options = TrainingOptions(steps=1, validations=0, device="cpu", postprocess=True)
    with pytest.raises(MedsegError, match="no step"):
        train(dataset, tmp_path / "run", options=options, plan=TOY_PLAN)
    assert (tmp_path / "run" / "model" / "manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
def test_kill_nine_and_resume_ends_the_same(dataset, undisturbed, tmp_path):
    """A run that dies while the checkpoint of its eighth step is written."""
    run, folder = tmp_path / "run", dataset.cases[0].label.parents[1]
    (tmp_path / "plan.json").write_bytes(encode(TOY_PLAN))
    arguments = (folder, run, tmp_path / "plan.json", encode(OPTIONS).decode())
    process = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not (run / "model").exists()
    assert [row["step"] for row in read_history(run) if "loss" in row] == list(range(1, 9))
    assert read_state(run / "checkpoint.safetensors").step == 7
    train(dataset, run, options=OPTIONS, resume=True)
    assert_same(undisturbed, run)
    steps = [record["step"] for record in read_history(run) if "loss" in record]
    assert steps == list(range(1, 13))


@pytest.mark.parametrize(
    ("minutes", "seconds_per_step", "steps"),
    [(0.5, 1.0, 3 + 27), (10.0, 0.1, 50 + 5772), (0.01, 1.0, 3)],
    ids=["slow", "quick", "hardly any"],
)
def test_minutes_set_the_number_of_steps(
    dataset, tmp_path, monkeypatch, minutes, seconds_per_step, steps
):
    """Known after 50 steps, or as soon as they take more than a 20th of the minutes.

    The rest goes to 97 % into steps.
    """
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("medseg.training.clock.time", clock)

    def tick(done, total, message):
        if message.startswith("training"):
            clock.now = done * seconds_per_step
            if done > 50:
                raise Cancelled("enough")

    options = TrainingOptions(minutes=minutes, validations=0, fold=None, device="cpu")
    run = tmp_path / "run"
    with pytest.raises(Cancelled) if steps > 50 else nullcontext():
        train(dataset, run, options=options, plan=TOY_PLAN, progress=tick)
    state = read_state(run / "checkpoint.safetensors")
    assert state.total_steps == steps
    assert state.step == min(steps, 51)


def test_an_old_run_is_never_overwritten(dataset, undisturbed):
    with pytest.raises(InputError, match="--resume"):
        train(dataset, undisturbed, options=TrainingOptions(steps=1, device="cpu"))


def test_two_processes_never_share_a_run(dataset, tmp_path):
    def another(done, total, message):
        if message.startswith("training"):
            with pytest.raises(InputError, match="another process"):
                train(dataset, run, options=options, resume=True)
            raise Cancelled("seen")

    run, options = tmp_path / "run", TrainingOptions(steps=2, device="cpu")
    with pytest.raises(Cancelled):
        train(dataset, run, options=options, plan=TOY_PLAN, progress=another)


def test_nothing_to_resume(dataset, tmp_path):
    with pytest.raises(InputError, match="no run to resume"):
        train(dataset, tmp_path, options=TrainingOptions(steps=1), resume=True)


def test_a_damaged_checkpoint_is_refused(dataset, undisturbed, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ReadError, match="cannot be resumed"):
        train(dataset, run, options=TrainingOptions(), resume=True)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"minutes": -1}, {"learning_rate": 0}])
def test_impossible_options_are_refused(bad):
    with pytest.raises(InputError, match="must be"):
        TrainingOptions(**bad)
