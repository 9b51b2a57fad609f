"""Bundles that are damaged, or that want code to run: refused by name, nothing executed."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from medseg.errors import InputError, PackageError, ReadError
from medseg.inference import Predictor
from medseg.model_package import find_package
from medseg.volume import Grid, Scan
from zoo_bundles import write_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "bundle", "spleen_ct")


@pytest.fixture
def marker(tmp_path):
    """A file that code which is executed makes."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


def edited(bundle, **changes):
    path = bundle / "configs" / "inference.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    return path


def refusal(bundle, code="UNSAFE"):
    with pytest.raises(PackageError) as caught:
        find_package(bundle)
    assert caught.value.code == code
    return str(caught.value)


HOSTILE = {
    "code after an import": {"imports": ["$import os; os.system('touch {marker}')"]},
    "an import elsewhere": {"initialize": ["$import os"]},
    "a call": {"initialize": ["$os.system('touch {marker}')"]},
    "a call in what is read": {"output_ext": "$__import__('os').system('touch {marker}')"},
    "a dunder": {"x": "$().__class__.__base__.__subclasses__()"},
    "a target": {"x": {"_target_": "os.system", "command": "touch {marker}"}},
    "a target of the bundle": {"network_def": {"_target_": "scripts.net.Net"}},
    "another class of MONAI": {"network_def": {"_target_": "VNet"}},
    "a network by expression": {"network_def": "$eval('1')"},
    "weights elsewhere": {
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "/etc/passwd"}]
    },
    "weights above": {
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/../x.pt'",
            }
        ]
    },
    "a circle": {"network_def": {"_target_": "UNet", "channels": "@a"}, "a": "@b", "b": "@a"},
    "another inferer": {"inferer": {"_target_": "SlidingWindowInfererAdapt"}},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_would_run_code_is_refused_by_name(case, bundle, marker):
    path = edited(bundle, **json.loads(json.dumps(HOSTILE[case]).replace("{marker}", str(marker))))
    assert str(path) in refusal(bundle)


@pytest.mark.parametrize(
    ("step", "word"),
    [
        ({"_target_": "RandFlipd", "keys": "image"}, "RandFlipd"),
        ({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x + 1"}, "Lambdad"),
        ({"_target_": "Spacingd", "keys": ["image", "label"]}, "label"),
        ({"_target_": "scripts.Own", "keys": "image"}, "scripts.Own"),
    ],
)
def test_another_transform_is_refused_by_name(step, word, bundle):
    content = json.loads((bundle / "configs/inference.json").read_text())["preprocessing"]
    edited(bundle, preprocessing={**content, "transforms": [*content["transforms"], step]})
    assert word in refusal(bundle)


def test_an_unknown_function_after_the_network_is_refused_by_its_text(bundle):
    content = json.loads((bundle / "configs/inference.json").read_text())["postprocessing"]
    step = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x * 2"}
    edited(bundle, postprocessing={**content, "transforms": [step, *content["transforms"]]})
    assert "x * 2" in refusal(bundle)


def test_an_unknown_setting_is_named(bundle):
    edited(bundle, inferer={"_target_": "SlidingWindowInferer", "roi_size": 32, "buffer_steps": 2})
    assert "buffer_steps" in refusal(bundle, "UNKNOWN_STEP")


class Executes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_weights_that_hold_code_are_refused(bundle, marker):
    torch.save({"a": Executes(marker)}, bundle / "models/model.pt")
    text = refusal(bundle)
    assert "model.pt" in text
    assert "system" in text


def test_a_bare_pickle_is_refused(bundle, marker):
    (bundle / "models/model.pt").write_bytes(pickle.dumps(Executes(marker)))
    with pytest.raises(PackageError, match=r"model\.pt"):
        find_package(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle / "models/model.pt").unlink()
    assert "models/model.pt" in refusal(bundle, "MISSING_FILE")


def test_weights_cut_short_are_told(bundle):
    path = bundle / "models/model.pt"
    path.write_bytes(path.read_bytes()[:5000])
    assert "model.pt" in refusal(bundle, "DAMAGED")


def test_weights_of_another_network_name_what_does_not_fit(bundle):
    torch.save(torch.nn.Conv3d(1, 2, 3).state_dict(), bundle / "models/model.pt")
    with pytest.raises(PackageError, match="do not fit"):
        find_package(bundle)


def test_a_description_that_does_not_decode_is_named(bundle):
    (bundle / "configs/inference.json").write_text("{")
    assert "inference.json" in refusal(bundle, "DECODE")


def zipped(bundle, path, extra=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in bundle.rglob("*"):
            archive.write(file, f"spleen/{file.relative_to(bundle)}")
        for name in extra:
            archive.writestr(name, "x")
    return path


def test_a_zip_is_the_same_model_as_its_folder(bundle, tmp_path):
    folder, archive = find_package(bundle), find_package(zipped(bundle, tmp_path / "spleen.zip"))
    assert archive.manifest.weights == folder.manifest.weights
    assert archive.manifest.chain == folder.manifest.chain
    assert archive.manifest.name == "spleen"


def test_a_zip_that_leads_out_is_refused(bundle, tmp_path):
    path = zipped(bundle, tmp_path / "bad.zip", extra=["../evil.txt"])
    assert "../evil.txt" in refusal(path, "UNSAFE_ARCHIVE")
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_damaged_zip_is_told(bundle, tmp_path):
    path = zipped(bundle, tmp_path / "cut.zip")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ReadError, match=r"cut\.zip") as caught:
        find_package(path)
    assert caught.value.code == "DAMAGED"


def test_a_scan_of_other_channels_is_refused(bundle):
    scan = Scan(np.zeros((2, 4, 4, 4), np.float32) + np.arange(4), Grid((4, 4, 4), np.eye(4)))
    with pytest.raises(InputError, match="2 channel"):
        Predictor.load(bundle, device="cpu").predict(scan)
