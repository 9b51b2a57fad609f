"""A person's own network, loss, transforms, augmentation and callbacks, from training to labels."""

import json

import numpy as np
import pytest
import torch
from monai.losses import DiceFocalLoss, DiceLoss
from monai.networks.nets import UNETR, AttentionUnet
from monai.transforms import (
    Compose,
    RandFlipd,
    RandGaussianNoised,
    ScaleIntensity,
    ScaleIntensityd,
    Spacingd,
    Zoomd,
)
from msgspec import structs
from torch import nn

import medseg
from medseg.errors import Cancelled, InputError, MedsegError, PackageError, PlanError
from medseg.inference import Predictor
from medseg.model_package import ModelPackage
from medseg.training import TrainingEvent, TrainingOptions
from medseg.training.history import read_history
from medseg.training.state import read_state
from medseg.volume import Grid, Scan
from toy_dataset import TOY_PLAN, toy_case, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = TrainingOptions(steps=3, validations=1, device="cpu")
FLAT_PLAN = structs.replace(TOY_PLAN, patch=(16, 16, 1), plane="axial")


class Net(nn.Module):
    """Of no installed package: it cannot be made from its name."""

    def __init__(self, width=4, classes=3, conv=nn.Conv3d, stride=1):
        super().__init__()
        self.layers = nn.Sequential(
            conv(1, width, 3, padding=1, stride=stride), nn.ReLU(), conv(width, classes, 1)
        )

    def forward(self, image):
        return self.layers(image)


@pytest.fixture(autouse=True)
def in_threads(monkeypatch):
    """Processes, which import everything once more, have their tests in `test_loader`."""
    monkeypatch.setattr("medseg.training.loader_workers._processes", lambda augment, count: [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("data") / "toy", cases=3)


@pytest.fixture
def train(folder, tmp_path):
    def run(name="run", **parts):
        chosen = {"options": OPTIONS, "plan": TOY_PLAN} | parts
        return medseg.train(folder, tmp_path / name, **chosen)

    return run


def scan():
    image, _ = toy_case(7)
    return Scan(image[None], Grid(image.shape, np.diag([1.2, 1.2, 1.2, 1])), "MR")


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def attention_unet():
    return AttentionUnet(3, 1, 3, channels=(4, 8), strides=(2,))


def test_a_network_of_an_installed_package_is_made_again_from_its_record(train):
    folder = train(network=attention_unet())
    stored = manifest(folder)
    assert stored["plan"]["network"]["name"] == "monai:AttentionUnet"
    assert stored["plan"]["network"]["settings"]["channels"] == [4, 8]
    need = stored["requires"][0]
    assert (need["distribution"], need["path"]) == (
        "monai",
        "monai.networks.nets.attentionunet:AttentionUnet",
    )
    assert "monai" in (folder / "README.md").read_text()
    labels = Predictor.load(folder, device="cpu").predict(scan())
    assert labels.grid.same_as(scan().grid)


def test_a_network_of_unknown_arguments_is_asked_for_and_takes_the_weights(train):
    network = Net()
    folder = train(network=network)
    assert manifest(folder)["plan"]["network"]["name"] == "given:Net"
    assert manifest(folder)["requires"] == []
    assert "network=" in (folder / "README.md").read_text()
    with pytest.raises(PlanError, match=r"'Net' was given as an object .*network=") as caught:
        Predictor.load(folder, device="cpu")
    assert caught.value.code == "GIVEN"
    with pytest.raises(PackageError, match="do not fit"):
        Predictor.load(folder, device="cpu", network=Net(width=5))
    twin = Net()
    Predictor.load(folder, device="cpu", network=twin).predict(scan())
    for stored, trained in zip(twin.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(stored, trained, rtol=1e-3, atol=1e-4)


def test_arguments_that_no_attribute_holds_are_not_guessed(train):
    network = UNETR(1, 3, img_size=16, hidden_size=24, mlp_dim=24, num_heads=2, feature_size=2)
    folder = train(network=network)
    assert manifest(folder)["plan"]["network"]["name"] == "given:UNETR"


def test_a_flat_network_sees_slices(train):
    folder = train(network=Net(conv=nn.Conv2d), plan=FLAT_PLAN)
    predictor = Predictor.load(folder, device="cpu", network=Net(conv=nn.Conv2d))
    assert predictor.predict(scan()).values.shape == (20, 20, 20)


def test_without_a_plan_one_is_made_for_the_network(train, monkeypatch):
    from medseg.planning import Budget

    small = Budget(voxels=16_000, features=4, most_features=8)
    monkeypatch.setattr("medseg.training.plan_for_run.CPU_BUDGET", small)
    folder = train(network=attention_unet(), plan=None)
    assert manifest(folder)["plan"]["network"]["name"] == "monai:AttentionUnet"


def test_own_loss_and_callbacks(train, tmp_path):
    events = []

    def watch(event):
        events.append(event)
        return event.step == 2

    loss = DiceFocalLoss(to_onehot_y=True, softmax=True)
    folder = train(loss=loss, callbacks=[watch, lambda event: 1])
    assert [event.step for event in events] == [1, 2]
    assert all(isinstance(event, TrainingEvent) for event in events)
    assert all(event.total_steps == 3 and np.isfinite(event.loss) for event in events)
    assert manifest(folder)["plan"]["loss"]["name"] == "given:DiceFocalLoss"
    assert manifest(folder)["provenance"]["steps"] == "2"
    assert "mean_over_labels" in manifest(folder)["scores"]
    seen = {row["loss"] for row in read_history(tmp_path / "run") if "loss" in row}
    assert seen == {round(event.loss, 5) for event in events}


def test_a_callback_hears_of_validations(train):
    events = []
    train(callbacks=[events.append])
    assert [event.dice is not None for event in events] == [False, False, True]
    assert "mean_over_labels" in events[-1].dice


def test_an_exception_in_a_callback_leaves_a_checkpoint(train, tmp_path):
    def fail(event):
        raise RuntimeError("disk of the dashboard is full")

    with pytest.raises(RuntimeError, match="dashboard"):
        train(callbacks=[fail])
    assert read_state(tmp_path / "run" / "checkpoint.safetensors").step == 1


@pytest.mark.parametrize(
    "transform", [ScaleIntensityd("image"), ScaleIntensity(), Compose([ScaleIntensityd("image")])]
)
def test_transforms_run_in_training_and_are_asked_for_in_prediction(train, tmp_path, transform):
    folder = train(transforms=transform)
    for file in (tmp_path / "run" / "cache").glob("*.image.npy"):
        image = np.load(file)
        assert (image.min(), image.max()) == (0, 1)
    name = manifest(folder)["plan"]["transforms"][0]
    with pytest.raises(PlanError, match=rf"{name}.*got: none.*transforms="):
        Predictor.load(folder, device="cpu")
    Predictor.load(folder, device="cpu", transforms=transform).predict(scan())


def test_augmentation_takes_the_place_of_the_plans(train):
    sums = []

    def remember(patch):
        sums.append(float(patch["image"].sum()))
        assert patch["image"].shape[1:] == patch["label"].shape[1:] == (16, 16, 16)
        return patch

    keys = ["image", "label"]
    steps = [RandFlipd(keys, prob=0.5), RandGaussianNoised("image", prob=1.0), remember]
    for name in ("first", "second"):
        train(name, augmentation=steps)
    assert len(sums) >= 12
    half = len(sums) // 2
    assert sorted(sums[:half]) == sorted(sums[half:]), "the same seed gives the same patches"


def test_augmentation_of_flat_patches(train):
    flip = RandFlipd(["image", "label"], prob=1.0)
    train(plan=FLAT_PLAN, network=Net(conv=nn.Conv2d), augmentation=flip)


def test_a_resumed_run_is_given_its_parts_again(train, folder, tmp_path):
    def stop(done, total, message):
        if message.startswith("training"):
            raise Cancelled("enough")

    parts = {"network": Net(), "loss": DiceLoss(to_onehot_y=True, softmax=True)}
    with pytest.raises(Cancelled):
        train(**parts, progress=stop)
    run = tmp_path / "run"
    with pytest.raises(PlanError, match=r"'Net'.*network="):
        medseg.train(folder, run, resume=True)
    with pytest.raises(PlanError, match=r"'DiceLoss'.*loss="):
        medseg.train(folder, run, resume=True, network=Net())
    parts["network"] = Net()
    assert ModelPackage.open(medseg.train(folder, run, resume=True, **parts))


def nan_loss(logits, labels):
    return logits.mean() * float("nan")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"network": Net(classes=2)}, r"'given:Net' gives \(1, 2, 16.*to give \(1, 3, 16"),
        ({"network": Net(stride=2)}, r"gives \(1, 3, 8, 8, 8\).*16 x 16 x 16"),
        ({"network": Net(conv=nn.Conv2d)}, "'given:Net' fails on a patch of 16 x 16 x 16"),
        ({"network": Net}, "not its class"),
        ({"loss": DiceLoss}, "not its class"),
        ({"loss": DiceLoss()}, "'given:DiceLoss' cannot learn.*to_onehot_y=True"),
        ({"loss": lambda logits, labels: logits.detach().sum()}, "without a gradient"),
        ({"loss": nan_loss}, "'given:nan_loss' became nan at step 1, where the learning rate was"),
        ({"transforms": RandFlipd("image")}, "RandFlipd is random.*augmentation="),
        ({"transforms": Zoomd("image", 2.0)}, "Zoomd moves voxels.*1.2 x 1.2 x 1.2 mm"),
        ({"transforms": Spacingd("image", (2, 2, 2))}, "Spacingd moves voxels.* of 2 x 2 x 2 mm"),
        ({"transforms": ScaleIntensityd("ct")}, "ScaleIntensityd fails.*the key 'image'"),
        ({"transforms": lambda image: image * np.nan}, "no finite numbers"),
        ({"augmentation": Spacingd(["image"], (1, 1, 2))}, "keep the size"),
        ({"augmentation": RandFlipd("scan", 1.0)}, "augmentation fails on a patch"),
    ],
)
def test_what_does_not_suit_is_one_sentence(train, parts, words):
    with pytest.raises(MedsegError, match=words) as caught:
        train(**parts)
    assert "\n" not in str(caught.value)


def test_own_loss_cannot_learn_regions(tmp_path):
    from toy_dataset import write_toy_regions

    data = write_toy_regions(tmp_path / "regions", cases=3)
    with pytest.raises(PlanError, match="'given:nan_loss' cannot learn regions"):
        medseg.train(data, tmp_path / "run", options=OPTIONS, loss=nan_loss)


def test_a_gradient_that_is_no_number_costs_no_step(train, tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.training.trainer.SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    calls = []

    def sometimes(logits, labels):
        calls.append(1)
        value = logits.square().mean()
        return value + (value * 0).sqrt() if len(calls) == 4 else value

    with pytest.raises(
        MedsegError,
        match=r"nan at step 3, .*first 2 steps are kept: go on from there with --resume",
    ):
        train(loss=sometimes)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    assert read_state(checkpoint).step == 2
    from safetensors.torch import load_file

    weights = load_file(checkpoint)
    assert all(value.isfinite().all() for value in weights.values())


def test_a_path_that_is_no_dataset_is_an_input_error(tmp_path):
    with pytest.raises(InputError):
        medseg.train(tmp_path, tmp_path / "run")


def test_an_own_augmentation_is_in_the_plan_and_asked_for_when_resumed(train, folder, tmp_path):
    def stop(done, total, message):
        if message.startswith("training"):
            raise Cancelled("enough")

    noise = RandGaussianNoised("image", prob=0.5)
    with pytest.raises(Cancelled):
        train(augmentation=noise, progress=stop)
    run = tmp_path / "run"
    plan = json.loads((run / "plan.json").read_text())
    assert [part["name"] for part in plan["augmentation"]] == ["given:RandGaussianNoised"]
    with pytest.raises(PlanError, match=r"'RandGaussianNoised'.*augmentation="):
        medseg.train(folder, run, resume=True)
    medseg.train(folder, run, resume=True, augmentation=noise)


def test_one_callback_needs_no_list(train):
    events = []
    train(callbacks=events.append)
    assert [event.step for event in events] == [1, 2, 3]
