"""Every network by name: trained, packed, used; pictures and slices too; and what is refused."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import save_file

from medseg.model_package import ModelPackage
from medseg.networks import names
from medseg.networks.encoders import EncoderSettings, build_encoder
from medseg.planning import Budget
from medseg.reading import read_labels, read_scan
from toy_dataset import write_toy

FEW = ("--steps", "2", "--device", "cpu")


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch):
    """Plans of the usual kind that cost a tenth of the usual."""
    monkeypatch.setattr(
        "medseg.training.plan_for_run.CPU_BUDGET",
        Budget(voxels=32_000, features=8, most_features=32),
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "boxes", cases=4)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "spots"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    (folder / "labels.json").write_text('{"255": "spot"}')
    rng = np.random.default_rng(0)
    for number in range(4):
        mask = np.zeros((40, 48), np.uint8)
        mask[8 + number : 24, 10:30] = 255
        colours = rng.integers(0, 60, (40, 48, 3)) + (mask > 0)[..., None] * (150, 40, 90)
        image = sitk.GetImageFromArray(colours.astype(np.uint8), isVector=True)
        sitk.WriteImage(image, str(folder / "images" / f"p{number}.png"))
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / "labels" / f"p{number}.png"))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "swin_unetr" else [])
        for name in names()
    ],
)
def test_it_trains_packs_and_segments(run, toy, tmp_path, name):
    folder, output = tmp_path / "run", tmp_path / "out.nii.gz"
    result = run("train", toy, "--output", folder, "--network", name, *FEW)
    assert result.exit_code == 0, result.output
    assert ModelPackage.open(folder / "model").manifest.plan.network.name == name
    scan = toy / "images" / "c0.nii.gz"
    result = run("segment", scan, "--model", folder, "--output", output, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert read_labels(output).grid.same_as(read_scan(scan).grid)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "deeplab"])
def test_colour_pictures_get_a_flat_network(run, pictures, tmp_path, name):
    folder, output = tmp_path / "run", tmp_path / "out.png"
    result = run("train", pictures, "--output", folder, "--network", name, *FEW)
    assert result.exit_code == 0, result.output
    plan = ModelPackage.open(folder / "model").manifest.plan
    assert (plan.plane, len(plan.channels)) == ("axial", 3)
    picture = pictures / "images" / "p3.png"
    result = run("segment", picture, "--model", folder, "--output", output, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "pixels of unknown size" in result.output
    assert " ml " not in result.output
    assert read_labels(output).values.shape == (48, 40, 1)


def test_a_flat_network_labels_a_volume_slice_by_slice(run, toy, tmp_path):
    folder, output = tmp_path / "run", tmp_path / "out.nii.gz"
    arguments = ("--network", "fcn", "--plane", "coronal", "--postprocess")
    result = run("train", toy, "--output", folder, *arguments, *FEW)
    assert result.exit_code == 0, result.output
    manifest = ModelPackage.open(folder / "model").manifest
    assert manifest.plan.patch[1] == 1
    assert "postprocessing" in manifest.provenance
    scan = toy / "images" / "c1.nii.gz"
    assert run("segment", scan, "--model", folder, "--output", output).exit_code == 0


@pytest.mark.slow
def test_published_weights_are_taken_over_and_told(run, pictures, tmp_path):
    torch.manual_seed(1)
    published = EncoderSettings(name="mobilenet_v2", norm="batch")
    weights = build_encoder(published, spatial_dims=2, in_channels=3).state_dict()
    weights["classifier.1.weight"] = torch.zeros(1000, 1280)
    file = tmp_path / "mobilenet.safetensors"
    save_file({key: value.contiguous() for key, value in weights.items()}, file)
    settings = ("--set", "encoder.name=mobilenet_v2", "--set", "encoder.width=1")
    arguments = ("--network", "pspnet", *settings, "--set", "encoder.norm=batch")
    folder = tmp_path / "run"
    result = run("train", pictures, "--output", folder, *arguments, "--pretrained", file, *FEW)
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "pretrained.json").read_text())
    assert "mobilenet.safetensors" in result.output


def test_the_networks_are_listed(run):
    result = run("networks", "list")
    assert result.exit_code == 0
    for word in ("unet", "deeplab", "pspnet", "fcn", "resnet50", "efficientnet_b0"):
        assert word in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--network", "unett"), ("unett", "deeplab")),
        (("--network", "deeplab", "--set", "encoder.output_stride=3"), ("3", "power of two")),
        (("--network", "deeplab", "--set", "encoder.name=resnet19"), ("resnet19", "resnet18")),
        (("--network", "fcn", "--set", "variant=7"), ("7",)),
        (("--network", "pspnet", "--set", "bins=[0]"), ("0",)),
        (("--network", "pspnet", "--set", "bins=[1, 99]"), ("99", "feature map")),
        (("--set", "depth=3"), ("depth",)),
        (("--loss", "dyce"), ("dyce", "dice")),
    ],
)
def test_what_cannot_be_is_one_sentence(run, toy, tmp_path, arguments, words):
    result = run("train", toy, "--output", tmp_path / "run", *arguments, *FEW)
    assert result.exit_code == 2
    refusals = [line for line in result.stderr.splitlines() if line.startswith("medseg: ")]
    assert refusals == result.stderr.splitlines()[-1:]
    assert all(word in refusals[0] for word in words), result.stderr
    assert not (tmp_path / "run" / "model").exists()


def test_weights_of_another_network_are_refused(run, toy, tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"backbone.w": torch.zeros(3)}, file)
    result = run(
        "train",
        toy,
        "--output",
        tmp_path / "run",
        "--network",
        "deeplab",
        "--pretrained",
        file,
        *FEW,
    )
    assert result.exit_code == 2
    assert "other.safetensors" in result.stderr
    result = run(
        "train", toy, "--output", tmp_path / "two", "--network", "unet", "--pretrained", file, *FEW
    )
    assert result.exit_code == 2
    assert "encoder" in result.stderr
