"""Runs that are stopped, killed and taken up again end where an undisturbed run ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medseg.errors import Cancelled, InputError, MedsegError, ReadError
from medseg.inference import Predictor
from medseg.networks.encoders import EncoderSettings, build_encoder
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.history import read_history
from medseg.volume import Grid, Scan
from toy_dataset import toy_case, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training import trainer
trainer.SECONDS_BETWEEN_CHECKPOINTS = 0.0
options = TrainingOptions(steps=48, validations=2, device="cpu")
train(open_dataset(sys.argv[1]), Path(sys.argv[2]), options=options, resume="resume" in sys.argv)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_toy(tmp_path_factory.mktemp("data") / "toy"))


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(dataset, run, options=TrainingOptions(steps=48, validations=2, device="cpu"))
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")


def assert_same(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(other)[name], value, rtol=1e-4, atol=1e-5, msg=name)
    losses = [[r["loss"] for r in read_history(run) if "loss" in r] for run in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_run_learns_measures_and_packs(undisturbed):
    predictor = Predictor.load(undisturbed, device="cpu")
    image, labels = toy_case(99)
    found = predictor.predict(
        Scan(image[None], Grid(image.shape, np.diag([1.2, 1.2, 1.2, 1])), "MR")
    )
    for value in (1, 2):
        mask, truth = found.values == value, labels == value
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
    manifest = json.loads((undisturbed / "model" / "manifest.json").read_text())
    assert manifest["scores"]["foreground"] > 0.8
    assert [label["name"] for label in manifest["labels"]["labels"]] == ["box", "core"]
    assert list((undisturbed / "tensorboard").iterdir())
    assert not list(undisturbed.rglob("*.pt")) + list(undisturbed.rglob("*.pkl"))


def test_cancel_keeps_the_work_and_resume_ends_the_same(dataset, undisturbed, tmp_path):
    def stop_at_ten(done, total, message):
        if done == 10 and message.startswith("training"):
            raise Cancelled("enough")

    run, options = tmp_path / "run", TrainingOptions(steps=48, validations=2, device="cpu")
    with pytest.raises(Cancelled):
        train(dataset, run, options=options, progress=stop_at_ten)
    assert max(record["step"] for record in read_history(run)) == 10
    train(dataset, run, options=options, resume=True)
    assert_same(undisturbed, run)


def test_dropout_resumes_where_it_stopped(dataset, tmp_path):
    def stop_at_two(done, total, message):
        if done == 2 and message.startswith("training"):
            raise Cancelled("enough")

    options = TrainingOptions(steps=4, validations=0, network="pspnet", device="cpu")
    train(dataset, tmp_path / "whole", options=options)
    with pytest.raises(Cancelled):
        train(dataset, tmp_path / "run", options=options, progress=stop_at_two)
    train(dataset, tmp_path / "run", options=options, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_published_weights_survive_a_stop_before_the_first_step(dataset, tmp_path):
    encoder = build_encoder(EncoderSettings(), spatial_dims=3, in_channels=1)
    weights = {name: torch.full_like(value, 0.01) for name, value in encoder.state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")

    def stop_while_preparing(done, total, message):
        if message == "preparing":
            raise Cancelled("enough")

    options = TrainingOptions(
        steps=1,
        validations=0,
        network="deeplab",
        device="cpu",
        learning_rate=1e-9,
        settings={"encoder.width": 1.0},
        pretrained=str(tmp_path / "weights.safetensors"),
    )
    run = tmp_path / "run"
    with pytest.raises(Cancelled):
        train(dataset, run, options=options, progress=stop_while_preparing)
    train(dataset, run, options=options, resume=True)
    found = [
        value
        for name, value in load_file(run / "model" / "weights.safetensors").items()
        if "encoder.layer1.0.conv1" in name
    ]
    assert found
    assert all(torch.allclose(value.float(), torch.tensor(0.01), atol=1e-4) for value in found)


def test_a_model_is_packed_whatever_comes_of_the_postprocessing_search(
    dataset, tmp_path, monkeypatch
):
    def fails(*_, **__):
        raise MedsegError("no step")

    monkeypatch.setattr("medseg.training.run.choose_postprocessing", fails)
    options = TrainingOptions(steps=1, validations=0, device="cpu", postprocess=True)
    with pytest.raises(MedsegError, match="no step"):
        train(dataset, tmp_path / "run", options=options)
    assert (tmp_path / "run" / "model" / "manifest.json").is_file()


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
def test_kill_nine_and_resume_ends_the_same(dataset, undisturbed, tmp_path):
    run, folder = tmp_path / "run", dataset.cases[0].label.parents[1]
    command = [sys.executable, "-c", SCRIPT, str(folder), str(run)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(read_history(run)) < 8 and process.poll() is None:
        assert time.monotonic() < deadline, "the run never got to step 8"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "model").exists()
    subprocess.run([*command, "resume"], check=True, stderr=subprocess.DEVNULL, timeout=240)
    assert_same(undisturbed, run)
    steps = [record["step"] for record in read_history(run) if "loss" in record]
    assert steps == list(range(1, 49))


def test_minutes_set_the_number_of_steps(dataset, tmp_path):
    options = TrainingOptions(minutes=0.1, validations=0, fold=None, device="cpu")
    train(dataset, tmp_path / "run", options=options)
    last = read_history(tmp_path / "run")[-1]
    assert last["step"] > 6
    assert last["seconds"] < 30


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
        train(dataset, run, options=options, progress=another)


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


def test_a_loss_that_is_not_a_number_stops_the_run(dataset, tmp_path, monkeypatch):
    from medseg.training import trainer

    monkeypatch.setattr(
        trainer, "build_loss", lambda plan: lambda logits, labels: logits.sum() * torch.nan
    )
    with pytest.raises(MedsegError, match="became nan at step 1"):
        train(dataset, tmp_path / "run", options=TrainingOptions(steps=2, device="cpu"))
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()


@pytest.mark.parametrize("bad", [{"steps": 0}, {"minutes": -1}, {"learning_rate": 0}])
def test_impossible_options_are_refused(bad):
    with pytest.raises(InputError, match="must be"):
        TrainingOptions(**bad)
