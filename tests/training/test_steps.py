"""A step is the same mathematics in parts as at once, and what it cannot do is one sentence."""

import pytest
import torch
from msgspec import structs
from safetensors.torch import load_file
from torch import nn

import medseg
from medseg.errors import Cancelled, InputError, MedsegError
from medseg.runtime.device import Device
from medseg.training import TrainingOptions, train
from medseg.training.gpu_memory import bytes_of, explain_lost_gpu
from medseg.training.history import read_history
from medseg.training.recipe import Recipe
from medseg.training.state import read_state
from medseg.training.step import nearest
from medseg.training.trainer import Trainer
from medseg.training.weight_average import WeightAverage
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = TrainingOptions(steps=6, validations=2, fold=0, device="cpu")
AVERAGED = structs.replace(OPTIONS, recipe=Recipe(ema_decay=0.9, learning_rate=0.1))
FLOAT32 = Device(torch.device("cpu"), None, "CPU, float32")
PLAN = structs.replace(TOY_PLAN, batch=5)


class Small(nn.Module):
    """A network that holds a few patches at once, as a GPU would."""

    def __init__(self, holds: int | None = None):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 1))
        self.holds = holds
        self.taken: list[int] = []

    def forward(self, image):
        if self.training:
            if self.holds is not None and len(image) > self.holds:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            self.taken.append(len(image))
        return self.layers(image)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return medseg.training.open_dataset(write_toy(tmp_path_factory.mktemp("data") / "toy"))


def checkpoint(run):
    return load_file(run / "checkpoint.safetensors")


def small(holds=None):
    torch.manual_seed(3)
    return Small(holds)


def stop_after(step):
    def progress(done, total, message):
        if message.startswith("training") and done == step:
            raise Cancelled("enough")

    return progress


def test_the_mean_of_weights_is_the_formula_and_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    average = WeightAverage(network, 0.7)
    expected = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for step in range(5):
        network(torch.randn(2, 1, 5, 5, 5))
        with torch.no_grad():
            for name, weight in network.named_parameters():
                weight.add_(torch.randn_like(weight))
                decay = min(0.7, (1 + step) / (10 + step))
                expected[name] = decay * expected[name] + (1 - decay) * weight
        average.update(step)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with average.in_network():
        for name, weight in network.named_parameters():
            torch.testing.assert_close(weight.detach(), expected[name])
        assert torch.equal(network[1].running_mean, before["1.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_resumed_run_has_the_same_mean_of_weights_and_packs_it(dataset, tmp_path):
    train(dataset, tmp_path / "whole", options=AVERAGED, plan=TOY_PLAN)
    for step in (1, 4):
        with pytest.raises(Cancelled):
            train(
                dataset,
                tmp_path / f"run{step}",
                options=AVERAGED,
                plan=TOY_PLAN,
                progress=stop_after(step),
            )
        train(None, tmp_path / f"run{step}", resume=True)
        whole, run = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / f"run{step}")
        assert whole.keys() == run.keys()
        assert all(torch.equal(whole[name], run[name]) for name in whole)
        scores = [
            [row["dice"] for row in read_history(tmp_path / name) if "dice" in row]
            for name in ("whole", f"run{step}")
        ]
        assert scores[0] == scores[1]
    packed = load_file(tmp_path / "whole" / "model" / "weights.safetensors")
    differ = 0
    for name, value in packed.items():
        torch.testing.assert_close(value.float(), whole[f"average.{name}"], rtol=1e-3, atol=1e-3)
        differ += not torch.allclose(value.float(), whole[f"network.{name}"], rtol=1e-2, atol=1e-3)
    assert differ


def test_the_best_mean_of_weights_is_packed(dataset, tmp_path, monkeypatch):
    falling = iter([0.9, 0.1, 0.1, 0.1])
    monkeypatch.setattr(
        "medseg.training.run.mean_dice", lambda *_, **__: {"mean_over_labels": next(falling)}
    )
    run = tmp_path / "run"
    train(dataset, run, options=structs.replace(AVERAGED, checkpoint="best"), plan=TOY_PLAN)
    best, packed = load_file(run / "checkpoint_best.safetensors"), run / "model"
    for name, value in load_file(packed / "weights.safetensors").items():
        torch.testing.assert_close(value.float(), best[f"average.{name}"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("holds", [1, 2, 3])
def test_out_of_memory_is_answered_by_the_same_step_in_parts(dataset, tmp_path, monkeypatch, holds):
    monkeypatch.setattr("medseg.training.run.device_here", lambda _: FLOAT32)
    options = structs.replace(OPTIONS, validations=0)
    train(dataset, tmp_path / "whole", options=options, plan=PLAN, network=small())
    told, network = [], small(holds)

    def progress(done, total, message):
        told.append(message)

    train(dataset, tmp_path / "run", options=options, plan=PLAN, network=network, progress=progress)
    whole, run = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "run")
    for name in whole:
        torch.testing.assert_close(run[name], whole[name], rtol=1e-3, atol=1e-6, msg=name)
    losses = [[row["loss"] for row in read_history(tmp_path / name)] for name in ("whole", "run")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    at_once = {1: 1, 2: 2, 3: 2}[holds]
    assert max(network.taken) == at_once
    sentences = [message for message in told if message.startswith("Memory on cpu")]
    assert sentences[-1].startswith(
        f"Memory on cpu does not hold a step of {2 if at_once == 1 else 5} patches at once:"
        f" it is computed for {at_once} at a time"
    )


def test_memory_that_holds_no_patch_is_one_sentence(dataset, tmp_path):
    with pytest.raises(MedsegError, match=r"one patch of 16 x 16 x 16 voxels does not fit") as told:
        train(dataset, tmp_path / "run", options=OPTIONS, plan=PLAN, network=small(0))
    assert told.value.code == "OUT_OF_MEMORY"
    assert "--device cpu" in str(told.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 * 2**30), ("800M", 800 * 2**20), ("1.5gb", 3 * 2**29), ("12345", 12345)],
)
def test_sizes_of_memory(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "8 apples", "-3G", "0", "G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="is no size of memory; write it such as 8G"):
        bytes_of(text)


@pytest.mark.parametrize("size", [(12, 8, 16), (6, 4, 8), (3, 8, 4), (5, 3, 7)])
def test_labels_of_a_coarser_level_are_the_nearest(size):
    labels = torch.randint(0, 255, (2, 12, 8, 16), dtype=torch.uint8)
    expected = nn.functional.interpolate(labels[:, None].float(), size=size)[:, 0]
    found = nearest(labels, torch.Size(size))
    assert found.dtype == torch.uint8
    assert torch.equal(found.float(), expected)


def test_a_loss_that_is_looked_at_late_is_told_with_its_step(dataset, tmp_path, monkeypatch):
    """As on a GPU, which nobody waits for: no checkpoint is of a step after the one that failed."""
    calls, prepare = [], Trainer.__post_init__

    def every_fourth(self):
        prepare(self)
        self.looks_every = 4

    def sometimes(logits, labels):
        calls.append(1)
        return logits.square().mean() * (float("nan") if len(calls) == 7 else 1)

    monkeypatch.setattr(Trainer, "__post_init__", every_fourth)
    options = structs.replace(OPTIONS, steps=12, validations=3)  # saves after step 4
    run, network = tmp_path / "run", small()
    with pytest.raises(MedsegError, match=r"became nan at step 6, .*first 4 steps are kept"):
        train(dataset, run, options=options, plan=TOY_PLAN, network=network, loss=sometimes)
    assert read_state(run / "checkpoint.safetensors").step == 4
    assert all(value.isfinite().all() for value in checkpoint(run).values())
    assert [row["step"] for row in read_history(run) if "loss" in row] == [1, 2, 3, 4, 5]


def test_steps_that_are_looked_at_late_are_the_same(dataset, tmp_path, monkeypatch):
    train(dataset, tmp_path / "whole", options=OPTIONS, plan=TOY_PLAN)
    prepare = Trainer.__post_init__

    def every_fourth(self):
        prepare(self)
        self.looks_every = 4

    monkeypatch.setattr(Trainer, "__post_init__", every_fourth)
    train(dataset, tmp_path / "run", options=OPTIONS, plan=TOY_PLAN)
    whole, run = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "run")
    assert all(torch.equal(whole[name], run[name]) for name in whole)
    rows = [
        [(row["step"], row["loss"]) for row in read_history(tmp_path / name) if "loss" in row]
        for name in ("whole", "run")
    ]
    assert rows[0] == rows[1]


def test_a_lost_gpu_is_one_sentence_and_the_run_goes_on_elsewhere(dataset, tmp_path):
    calls = []

    def fails(logits, labels):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE...")
        return logits.square().mean()

    run = tmp_path / "run"
    options = structs.replace(OPTIONS, validations=0)
    with pytest.raises(MedsegError, match=r"the GPU was lost .*launch failure\).*--resume") as told:
        train(dataset, run, options=options, plan=TOY_PLAN, network=small(), loss=fails)
    assert told.value.code == "DEVICE_LOST"
    assert read_state(run / "checkpoint.safetensors").step == 2
    train(None, run, resume=True, network=small(), loss=fails)
    assert read_state(run / "checkpoint.safetensors").step == 6


def test_other_failures_are_not_a_lost_gpu():
    with (
        pytest.raises(RuntimeError, match="sizes do not match"),
        explain_lost_gpu(FLOAT32),
    ):
        raise RuntimeError("sizes do not match")
