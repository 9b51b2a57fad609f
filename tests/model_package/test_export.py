"""A model as one file: other programs' logits are torch's, and what cannot be is one sentence."""

import hashlib
import json
import sys

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from medseg import __version__
from medseg.errors import InputError, MedsegError, WriteError
from medseg.model_package import Card, Manifest, ModelPackage, export_model, onnx, save_package
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.planning import Component, Normalisation, Plan
from medseg.volume import LabelTable

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime runs what was exported")
pytest.importorskip("onnxscript", reason="torch writes ONNX with the package onnxscript")

SETTINGS = {"features": [4, 8], "strides": [[1] * 3, [2] * 3], "kernels": [[3] * 3] * 2}
PLAN = Plan(
    spacing_mm=(1.0, 1.0, 2.5),
    channels=("CT", "MR"),
    normalisation=(Normalisation(),) * 2,
    patch=(16, 12, 8),
    batch=2,
    network=Component(name="unet", settings=SETTINGS),
)
FLAT_SETTINGS = {"features": [4, 8], "strides": [[1, 1], [2, 2]], "kernels": [[3, 3], [3, 3]]}
FLAT = msgspec.structs.replace(
    PLAN, plane="axial", patch=(16, 12, 1), network=Component(name="unet", settings=FLAT_SETTINGS)
)


def packed(folder, plan):
    torch.manual_seed(0)
    manifest = Manifest(
        name="toy",
        version="3",
        plan=plan,
        labels=LabelTable.of({1: "liver", 7: "cyst"}),
        card=Card(licence="CC0"),
        postprocessing=(Component(name="holes"),),
        weights=UNSAVED,
    )
    return save_package(folder, manifest, build_network(plan, classes=3))


def same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def open_onnx(path):
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("models") / "toy", PLAN)


@pytest.fixture(scope="module")
def exported(package, tmp_path_factory):
    return export_model(package, tmp_path_factory.mktemp("exported") / "toy.onnx")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_onnx_gives_torchs_logits_for_any_number_of_patches(package, exported, count):
    image = torch.randn(count, 2, *PLAN.patch)
    found = open_onnx(exported.path).run(["logits"], {"image": image.numpy()})[0]
    same(found, package.load_network()(image).numpy())
    assert exported.difference < 1e-4


def test_onnx_takes_the_plans_patch_and_says_so(exported):
    session = open_onnx(exported.path)
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert image.shape == ["batch", 2, 16, 12, 8]
    assert logits.shape == ["batch", 3, 16, 12, 8]
    with pytest.raises(Exception, match=r"(?i)invalid dimensions"):
        session.run(None, {"image": np.zeros((1, 2, 16, 12, 9), np.float32)})


def test_the_file_says_which_model_it_is(package, exported):
    facts = open_onnx(exported.path).get_modelmeta().custom_metadata_map
    weights = (package.folder / "weights.safetensors").read_bytes()
    assert facts["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert (facts["model"], facts["model_version"]) == ("toy", "3")
    assert facts["medseg_version"] == __version__
    assert facts["licence"] == "CC0"
    assert msgspec.json.decode(facts["plan"], type=Plan) == PLAN
    labels = {one["value"]: one["name"] for one in json.loads(facts["labels"])}
    assert labels == {1: "liver", 7: "cyst"}
    assert json.loads(facts["postprocessing"]) == [{"name": "holes", "settings": {}}]


def test_nothing_lies_beside_the_file(exported):
    assert list(exported.path.parent.iterdir()) == [exported.path]


def test_torch_export_gives_the_same_logits_and_facts(package, tmp_path):
    made = export_model(package, tmp_path / "toy.pt2")
    assert made.difference < 1e-6
    kept = {"medseg.json": ""}
    program = torch.export.load(made.path, extra_files=kept)
    image = torch.randn(3, 2, *PLAN.patch)
    same(program.module()(image).numpy(), package.load_network()(image).numpy())
    facts = json.loads(kept["medseg.json"])
    assert facts["plan"]["patch"] == [16, 12, 8]
    assert facts["weights_sha256"] == package.manifest.weights.sha256
    assert list(tmp_path.iterdir()) == [made.path]


def test_torchscript_gives_the_same_logits_and_facts(package, tmp_path):
    made = export_model(package, tmp_path / "toy.ts")
    assert (made.format, made.difference < 1e-6) == ("TorchScript", True)
    kept = {"medseg.json": ""}
    network = torch.jit.load(made.path, _extra_files=kept)
    image = torch.randn(3, 2, *PLAN.patch)
    same(network(image).numpy(), package.load_network()(image).numpy())
    assert json.loads(kept["medseg.json"])["plan"]["patch"] == [16, 12, 8]


def test_a_flat_network_keeps_the_axis_of_one_voxel(tmp_path):
    package = packed(tmp_path / "flat", FLAT)
    made = export_model(package, tmp_path / "flat.onnx", opset=20)
    assert made.format == "ONNX, opset 20"
    image = torch.randn(4, 2, 16, 12, 1)
    session = open_onnx(made.path)
    same(session.run(None, {"image": image.numpy()})[0], package.load_network()(image).numpy())
    written = pytest.importorskip("onnx").load(made.path)
    assert [(one.domain, one.version) for one in written.opset_import] == [("", 20)]


@pytest.mark.parametrize(
    ("name", "opset", "words"),
    [
        ("toy.pth", None, r"'toy\.pth'.*\.onnx, \.pt2, \.ts"),
        ("toy", None, r"'toy'.*\.onnx, \.pt2"),
        ("toy.onnx", 17, "opset 17.*18 to 23"),
        ("toy.onnx", 99, "opset 99.*18 to 23"),
        ("toy.onnx", 0, "opset 0.*18 to 23"),
        ("toy.ts", 18, r"opset 18 is of ONNX.*\.onnx"),
        ("toy.pt2", 18, r"opset 18 is of ONNX.*\.onnx"),
        ("nowhere/toy.onnx", None, "folder '.*nowhere' does not exist"),
    ],
)
def test_what_cannot_be_is_one_sentence(package, tmp_path, name, opset, words):
    with pytest.raises(MedsegError, match=rf"^[^\n]*{words}[^\n]*$"):
        export_model(package, tmp_path / name, opset=opset)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["onnxscript", "onnxruntime", "onnx"])
def test_a_missing_extra_is_named(package, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"pip install 'medseg\[export\]'") as caught:
        export_model(package, tmp_path / "toy.onnx")
    assert f"ONNX needs {name}," in str(caught.value)
    assert ("--no-check" in str(caught.value)) == (name == "onnxruntime")


def test_without_a_check_no_runtime_is_needed(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made = export_model(package, tmp_path / "toy.onnx", check=False)
    assert made.difference is None
    assert made.path.stat().st_size > 1000


@pytest.mark.parametrize("change", [0.01, float("nan")])
def test_other_logits_are_refused_and_the_former_file_stays(package, tmp_path, monkeypatch, change):
    def wrong(path, image):
        return package.load_network()(image) + change

    monkeypatch.setattr("medseg.model_package.pt2.logits", wrong)
    path = tmp_path / "toy.pt2"
    path.write_bytes(b"the former one")
    with pytest.raises(WriteError, match="away from torch's"):
        export_model(package, path)
    assert path.read_bytes() == b"the former one"
    assert list(tmp_path.iterdir()) == [path]


class Undecided(nn.Module):
    """Its way depends on its input: no graph can show it."""

    def forward(self, image):
        return image if image.sum() > 0 else -image


@pytest.mark.parametrize("name", ["toy.pt2", "toy.ts"])
def test_a_network_that_is_no_graph_is_named(package, tmp_path, monkeypatch, name):
    monkeypatch.setattr(ModelPackage, "load_network", lambda self: Undecided())
    with pytest.raises(InputError, match=r"^the network 'unet' of the model 'toy' cannot[^\n]*$"):
        export_model(package, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_weights_too_large_for_onnx_are_told_where_to_go(package, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "LARGEST", 1000)
    with pytest.raises(InputError, match=r"do not fit into one file; use \.pt2"):
        export_model(package, tmp_path / "toy.onnx")
    assert not list(tmp_path.iterdir())
