"""From the command line: a model of nnU-Net in, labels out; TotalSegmentator's folder in, tasks."""

import os
import zipfile

import nibabel as nib
import numpy as np
import pytest
import torch

from batch_stand_ins import InlinePool, files_below
from medseg_pipelines.batch import archive_run
from nnunet_folders import checkpoint, configuration, dataset, network_of, plans, write_trained

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINED = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_MODELS", str(tmp_path / "models"))


@pytest.fixture
def folder(tmp_path):
    file = plans({"3d_fullres": configuration()})
    return write_trained(
        tmp_path / "Dataset007_Liver" / TRAINED, {"0": network_of()}, plans_json=file
    )


@pytest.fixture
def scan(tmp_path):
    rng = np.random.default_rng(0)
    image = nib.Nifti1Image(rng.normal(30, 60, (20, 18, 9)), np.diag([1.0, 1.5, 3.0, 1.0]))
    nib.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_an_imported_model_is_found_by_name_and_as_good_as_its_folder(run, folder, scan, tmp_path):
    result = run("models", "import", folder, "--name", "liver-ct")
    assert result.exit_code == 0, result.output
    for words in ("liver, tumour", "Licence of the weights", "--model liver-ct"):
        assert words in result.output
    listed = run("models", "list").output
    assert "liver-ct" in listed
    assert "nnUNetTrainer" in run("models", "info", "liver-ct").output
    found = {}
    for model in ("liver-ct", folder):
        output = tmp_path / "labels.nii.gz"
        result = run("segment", scan, "--model", model, "--output", output, "--device", "cpu")
        assert result.exit_code == 0, result.output
        found[model] = np.asarray(nib.load(output).dataobj)
        output.unlink()
    assert np.array_equal(found["liver-ct"], found[folder])
    assert found[folder].any()


def test_a_batch_takes_the_folder_as_it_is(run, folder, scan, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_run, "_pool", lambda _: InlinePool)
    archive, output = tmp_path / "archive", tmp_path / "out"
    archive.mkdir()
    scan.rename(archive / "scan.nii.gz")
    result = run(
        "batch",
        archive,
        "--model",
        folder,
        "--output",
        output,
        "--format",
        "nifti",
        "--device",
        "cpu",
    )
    assert result.exit_code == 0, result.output
    (written,) = (name for name in files_below(output) if name.endswith(".nii.gz"))
    assert np.asarray(nib.load(output / written).dataobj).any()


def test_what_cannot_be_imported_is_one_sentence(run, folder, tmp_path):
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"no weights")
    result = run("models", "import", folder)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "checkpoint_final.pth" in result.stderr
    assert not [file for file in (tmp_path / "models").rglob("*") if file.is_file()]


class Touch:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def hostile_checkpoint(folder, marker):
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(checkpoint(network_of(), extra=Touch(marker)), file)
    return folder


def archive_that_leads_out(folder, marker):
    path = folder.parent / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (file for file in folder.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(folder.parent))
        archive.writestr(f"../../{marker.name}", b"out")
    return path


@pytest.mark.parametrize(
    ("make", "named"),
    [(hostile_checkpoint, "checkpoint_final.pth"), (archive_that_leads_out, "model.zip")],
)
@pytest.mark.parametrize("command", ["import", "segment"])
def test_a_hostile_model_runs_nothing_and_leaves_nothing(
    run, folder, scan, tmp_path, make, named, command
):
    marker, output = tmp_path / "executed", tmp_path / "labels.nii.gz"
    model = make(folder, marker)
    words = {
        "import": ("models", "import", model),
        "segment": ("segment", scan, "--model", model, "--output", output),
    }
    result = run(*words[command])
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert named in result.stderr
    assert not [place for place in tmp_path.parents if (place / marker.name).exists()]
    assert not [*tmp_path.rglob(marker.name), *tmp_path.rglob(output.name)]
    assert not [file for file in (tmp_path / "models").rglob("*") if file.is_file()]


def test_tasks_of_totalsegmentator_are_listed_with_their_licence(run, tmp_path):
    home = tmp_path / ".totalsegmentator"
    for number, labels in ((299, 2), (303, 1)):
        names = {"background": 0, **{f"label {n}": n for n in range(1, labels + 1)}}
        write_trained(
            home / f"nnunet/results/Dataset{number}_x/{TRAINED}",
            {"0": network_of(heads=labels + 1)},
            plans_json=plans({"3d_fullres": configuration()}),
            dataset_json=dataset(labels=names),
        )
    result = run("models", "import", home)
    assert result.exit_code == 0, result.output
    for words in ("totalsegmentator-body", "Apache-2.0", "face: needs the licence"):
        assert words in result.output
    result = run("models", "import", home, "--configuration", "face")
    assert (result.exit_code, "no task could be imported" in result.stderr) == (2, True)
