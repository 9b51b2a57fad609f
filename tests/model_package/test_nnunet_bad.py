"""Folders and archives of nnU-Net that cannot be used: one sentence, nothing run, nothing left."""

import json
import os
import shutil
import zipfile

import pytest
import torch

from medseg.errors import MedsegError, PackageError, ReadError
from medseg.model_package import find_package, import_model
from medseg.model_package.interop.kept import models_folder
from medseg.model_package.interop.nnunet.options import ImportOptions
from nnunet_folders import (
    checkpoint,
    configuration,
    dataset,
    network_of,
    old_configuration,
    plans,
    write_trained,
)

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINED = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_MODELS", str(tmp_path / "models"))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "Dataset007_Liver" / TRAINED
    return write_trained(
        place, {"0": network_of()}, plans_json=plans({"3d_fullres": configuration()})
    )


def refused(path, match, kind=PackageError, **options):
    with pytest.raises(kind, match=match) as caught:
        import_model(path, ImportOptions(**options))
    with pytest.raises(MedsegError):
        find_package(path)
    assert path.name in str(caught.value)
    assert not [file for file in models_folder().rglob("*") if file.is_file()]
    return caught.value


def rewritten(folder, file, **changes):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class Touch:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_that_runs_code_is_refused_and_does_not_run(folder, tmp_path):
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(checkpoint(network_of(), extra=Touch(tmp_path / "ran")), file)
    error = refused(folder, "checkpoint_final.pth.*names 'posix.system'")
    assert error.code == "UNSAFE"
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_is_damaged_or_another_file(folder):
    file = folder / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:2000])
    refused(folder, "'checkpoint_final.pth' is damaged")
    torch.save({"state_dict": {}}, file)
    refused(folder, "no 'network_weights'")


def zipped(folder, path, names=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            name = str(file.relative_to(folder.parent))
            if file.is_file():
                entry = zipfile.ZipInfo((names or {}).get(file.name, name))
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return path


def test_an_archive_is_as_good_as_its_folder(folder, tmp_path):
    archive = zipped(folder.parent, tmp_path / "model.zip")
    package = import_model(archive)
    assert package.manifest.name == "Dataset007_Liver"
    image = torch.randn(1, 1, 8, 16, 24)
    with torch.no_grad():
        expected = network_of()(image)
        torch.testing.assert_close(package.load_network()(image), expected, rtol=1e-4, atol=1e-4)
    assert find_package("Dataset007_Liver").folder == package.folder
    assert find_package(archive).manifest.plan == package.manifest.plan
    with pytest.raises(PackageError, match="there is a model 'Dataset007_Liver'"):
        import_model(archive)
    assert import_model(archive, ImportOptions(name="liver")).manifest.name == "liver"


@pytest.mark.parametrize("name", ["../plans.json", "/plans.json", "a/../../plans.json"])
def test_an_archive_that_leads_out_is_refused(folder, tmp_path, name):
    archive = zipped(folder, tmp_path / "model.zip", {"plans.json": name})
    assert refused(archive, "leads out", ReadError).code == "UNSAFE_ARCHIVE"


def test_an_archive_that_is_cut_off_or_a_bomb(folder, tmp_path):
    archive = zipped(folder, tmp_path / "model.zip")
    archive.write_bytes(archive.read_bytes()[:-500])
    assert refused(archive, "damaged", ReadError).code == "DAMAGED"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("plans.json", b"0" * (40 << 20))
    assert refused(archive, "grows", ReadError).code == "TOO_LARGE"


def test_folds_that_are_missing(folder):
    with pytest.raises(PackageError, match="no trained fold 3; it has 0"):
        import_model(folder, ImportOptions(folds=("3",)))
    shutil.rmtree(folder / "fold_0")
    refused(folder, "holds no weights")


def test_channels_that_do_not_agree(folder):
    rewritten(folder, "dataset.json", channel_names={"0": "CT", "1": "PET"})
    refused(folder, r"normalise 1 channel\(s\) and its dataset.json names 2 \(CT, PET\)")


def test_weights_of_other_shapes_name_the_first(folder):
    one = configuration()
    one["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6, 12]
    rewritten(folder, "plans.json", configurations={"3d_fullres": one})
    refused(folder, r"'encoder.stages.1.0.convs.0.conv.weight' of shape \(8, 4, 3, 3, 3\).*6, 4")


def test_weights_with_fewer_heads_than_labels(folder):
    labels = {"background": 0, "a": 1, "b": 2, "c": 3}
    rewritten(folder, "dataset.json", labels=labels)
    refused(folder, r"seg_layers.0.weight' of shape \(3, .*\(4, ")


def test_weights_of_another_network_tell_its_trainer(folder):
    weights = {"eva.blocks.0.norm1.weight": torch.zeros(8)}
    changes = {"network_weights": weights, "trainer_name": "nnUNet_Primus_M_Trainer"}
    torch.save(checkpoint(network_of(), **changes), folder / "fold_0" / "checkpoint_final.pth")
    refused(folder, "trainer nnUNet_Primus_M_Trainer: its weights hold 'eva.blocks")


def test_an_unknown_trainer_of_a_known_network_is_taken(folder):
    changes = {"trainer_name": "TrainerOfAnotherLab"}
    torch.save(checkpoint(network_of(), **changes), folder / "fold_0" / "checkpoint_final.pth")
    assert import_model(folder).manifest.provenance["trainer"] == "TrainerOfAnotherLab"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"normalization_schemes": ["NyulNormalization"]}, "the normalisation 'NyulNorm"),
        ({"resampling_fn_data": "no_resampling_hack"}, "the resampling 'no_resampling_hack'"),
        ({"preprocessor_name": "MyPreprocessor"}, "the preprocessor 'MyPreprocessor'"),
        ({"patch_size": [16]}, "patch of"),
        ({"spacing": "near"}, "spacing"),
        ({"architecture": {"network_class_name": "nets.Primus", "arch_kwargs": {}}}, "'Primus'"),
        (
            {"architecture": {"network_class_name": "PlainConvUNet", "arch_kwargs": {}}},
            "n_stages",
        ),
    ],
)
def test_plans_that_ask_for_what_is_not_there(folder, change, words):
    rewritten(folder, "plans.json", configurations={"3d_fullres": configuration(**change)})
    refused(folder, words)


def test_plans_without_a_network(folder):
    one = old_configuration()
    del one["UNet_class_name"]
    rewritten(folder, "plans.json", configurations={"3d_fullres": one})
    refused(folder, "neither 'architecture' nor a known 'UNet_class_name'")


def test_plans_that_inherit_in_a_circle(folder):
    circle = {"3d_fullres": {"inherits_from": "a"}, "a": {"inherits_from": "3d_fullres"}}
    rewritten(folder, "plans.json", configurations=circle)
    refused(folder, "in a circle: 3d_fullres from a from 3d_fullres")


def test_an_order_of_axes_that_is_none(folder):
    rewritten(folder, "plans.json", transpose_forward=[0, 0, 1])
    refused(folder, "transpose_forward")


@pytest.mark.parametrize("file", ["plans.json", "dataset.json"])
def test_files_that_are_no_json_or_of_another_kind(folder, file):
    (folder / file).write_text("{")
    refused(folder, f"{file}' is no JSON")
    (folder / file).write_text("[]")
    refused(folder, file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"background": 0, "a": 1, "b": 3}}, r"labels \[1, 3\]"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}}, "regions_class_order"),
        (
            {
                "labels": {"background": 0, "a": [1, 2], "b": 2},
                "regions_class_order": [1, 1],
            },
            "each once",
        ),
    ],
)
def test_labels_that_no_map_can_show(folder, changes, words):
    (folder / "dataset.json").write_text(json.dumps(dataset(**changes)))
    refused(folder, words, MedsegError)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", " ", "c:x"])
def test_a_name_that_is_no_folder(folder, name):
    with pytest.raises(PackageError, match="cannot be the name of a model"):
        import_model(folder, ImportOptions(name=name))
