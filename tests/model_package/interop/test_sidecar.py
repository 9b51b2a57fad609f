"""Networks in one file beside a medseg.json: the labels of the model they were made of."""

import json

import msgspec
import numpy as np
import pytest
import torch

from medseg.errors import PackageError
from medseg.inference import Predictor
from medseg.model_package import export_model, find_package
from medseg.phantoms import abdominal_ct
from medseg.runtime.device import Device
from toy_model import tiny_model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model, and a folder with it in both formats and its description."""
    folder = tmp_path_factory.mktemp("sidecar")
    torch.manual_seed(1)
    package = tiny_model(folder / "package")
    for name in ("model.onnx", "model.ts"):
        (folder / name[6:]).mkdir()
        export_model(package, folder / name[6:] / name)
        content = msgspec.to_builtins(package.manifest)
        del content["weights"]
        (folder / name[6:] / "medseg.json").write_text(json.dumps(content))
    return package, folder


@pytest.fixture
def in_float32(monkeypatch):
    """onnxruntime computes in float32; so does torch here, on every processor."""
    device = Device(torch.device("cpu"), None, "CPU")
    monkeypatch.setattr("medseg.runtime.device._cpu", lambda: device)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("ending", ["onnx", "ts"])
def test_it_labels_as_the_model_it_was_made_of(ending, exported):
    package, folder = exported
    scan = abdominal_ct(seed=0)[0]
    ours = Predictor.load(package, device="cpu").predict(scan).values
    for path in (folder / ending, folder / ending / f"model.{ending}"):
        theirs = Predictor.load(path, device="cpu").predict(scan).values
        assert (theirs == ours).mean() >= 0.9999
    assert len(np.unique(ours)) > 1


def changed(folder, tmp_path, **changes):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.onnx").write_bytes((folder / "onnx/model.onnx").read_bytes())
    content = json.loads((folder / "onnx/medseg.json").read_text())
    (tmp_path / "m/medseg.json").write_text(json.dumps({**content, **changes}))
    return tmp_path / "m"


def test_other_labels_than_the_network_gives_are_refused(exported, tmp_path):
    labels = json.loads((exported[1] / "onnx/medseg.json").read_text())["labels"]
    labels["labels"] = labels["labels"][:1]
    path = changed(exported[1], tmp_path, labels=labels)
    with pytest.raises(PackageError, match="its description says 2"):
        find_package(path)


def test_an_altered_network_is_refused(exported, tmp_path):
    path = changed(exported[1], tmp_path, weights={"file": "model.onnx", "sha256": "0" * 64})
    with pytest.raises(PackageError, match="altered or damaged"):
        find_package(path)


def test_an_unknown_key_of_the_description_is_named(exported, tmp_path):
    with pytest.raises(PackageError, match="hidden"):
        find_package(changed(exported[1], tmp_path, hidden=1))


@pytest.mark.parametrize("ending", ["onnx", "ts"])
def test_a_damaged_network_is_told(ending, exported, tmp_path):
    (tmp_path / f"model.{ending}").write_bytes(b"\x08no network")
    text = (exported[1] / "onnx/medseg.json").read_text()
    (tmp_path / "medseg.json").write_text(text)
    with pytest.raises(PackageError, match="cannot be read"):
        find_package(tmp_path)


def test_a_folder_of_two_networks_asks_for_one(exported, tmp_path):
    path = changed(exported[1], tmp_path)
    (path / "other.onnx").write_bytes(b"")
    with pytest.raises(PackageError, match=r"2 networks .*give the path of one"):
        find_package(path)
