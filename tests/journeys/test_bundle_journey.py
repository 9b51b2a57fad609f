"""A model taken into MONAI: ``python -m monai.bundle run`` where medseg is not, the same labels."""

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from medseg.metrics import overlap
from medseg.reading import read_labels
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.recipe import Recipe
from toy_dataset import TOY_PLAN, toy_case, write_toy

BLOCK = """
import sys

class NoMedseg:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("medseg"):
            raise ModuleNotFoundError(f"{name} is not to be had here")

sys.meta_path.insert(0, NoMedseg())
"""
"""Python runs it before anything else."""
TURNED = np.array([[0, -1.2, 0, 3], [-1.0, 0, 0, 8], [0, 0, 1.5, -4], [0, 0, 0, 1]], float)
"""Another orientation and spacing than the toy dataset's."""


@pytest.fixture(scope="module")
def boxes(tmp_path_factory, one_thread):
    """A run that has learnt the boxes of the toy dataset."""
    folder = tmp_path_factory.mktemp("boxes")
    options = TrainingOptions(
        steps=250, validations=1, device="cpu", recipe=Recipe(optimizer="adamw", learning_rate=1e-2)
    )
    train(open_dataset(write_toy(folder / "toy")), folder / "run", options=options, plan=TOY_PLAN)
    return folder / "run"


@pytest.fixture
def no_medseg(tmp_path):
    """Run Python in a folder where medseg cannot be imported, though it is installed."""
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "block"), "OMP_NUM_THREADS": "1"}

    def call(*arguments, folder):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return call


@pytest.mark.slow
@pytest.mark.parametrize(
    ("affine", "least"),
    [
        pytest.param(np.diag([1.2, 1.2, 1.2, 1]), (0.999, 0.99), marks=pytest.mark.slow),
        (TURNED, (0.99, 0.9)),
    ],
)
def test_monai_runs_it_without_medseg_and_gives_its_labels(
    run, boxes, no_medseg, tmp_path, affine, least, record_property
):
    for name in ("fire", "ignite"):
        pytest.importorskip(name, reason="monai.bundle run needs fire and pytorch-ignite")
    bundle, scans = tmp_path / "bundle", tmp_path / "scans"
    scans.mkdir()
    nib.save(nib.Nifti1Image(toy_case(9)[0], affine), scans / "nine.nii.gz")
    result = run("models", "export", boxes, "--to", "monai-bundle", "--output", bundle)
    assert result.exit_code == 0, result.output
    assert no_medseg("-c", "import medseg", folder=bundle).returncode == 1
    done = no_medseg(
        *("-m", "monai.bundle", "run", "--config_file", "configs/inference.json"),
        *("--meta_file", "configs/metadata.json", "--dataset_dir", scans),
        *("--output_dir", tmp_path / "output"),
        folder=bundle,
    )
    assert done.returncode == 0, done.stderr
    ours = tmp_path / "ours.nii.gz"
    result = run("segment", scans / "nine.nii.gz", "--model", boxes, "--output", ours)
    assert result.exit_code == 0, result.output
    (written,) = (tmp_path / "output").iterdir()
    assert nib.load(written).get_data_dtype() == np.uint8
    wanted, found = read_labels(ours), read_labels(written)
    assert found.grid.same_as(wanted.grid)
    equal = float((found.values == wanted.values).mean())
    record_property("share of equal voxels", equal)
    assert equal > least[0]
    agreement = {name: one.dice for name, one in overlap(found, wanted).items()}
    assert min(agreement.values()) > least[1], agreement


def test_monais_own_check_finds_every_part(run, boxes, tmp_path):
    pytest.importorskip("ignite", reason="MONAI's evaluator is of pytorch-ignite")
    bundle = tmp_path / "bundle"
    run("models", "export", boxes, "--to", "monai-bundle", "--output", bundle, "--no-check")
    workflow = ConfigWorkflow(
        str(bundle / "configs/inference.json"),
        str(bundle / "configs/metadata.json"),
        workflow_type="infer",
        bundle_root=str(bundle),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_a_comparison_is_printed(run, model, scan_file, tmp_path):
    output = tmp_path / "bundle"
    arguments = ("--to", "monai-bundle", "--output", output, "--compare", scan_file)
    result = run("models", "export", model, *arguments)
    assert result.exit_code == 0, result.output
    for words in ("MONAI bundle", "preparation, s", "of the voxels have the same label", "liver:"):
        assert words in result.output
    assert str(output) in result.output


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--to", "tensorrt"), "'tensorrt' is not 'monai-bundle'"),
        (("--to", "monai-bundle", "--opset", "18"), "--opset is of ONNX"),
        (("--to", "monai-bundle", "--compare", "nowhere.nii.gz"), "nowhere.nii.gz"),
        (("--compare", "scan.nii.gz"), "--compare is for bundles"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(run, model, tmp_path, more, words):
    result = run("models", "export", model, "--output", tmp_path / "bundle.ts", *more)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "bundle.ts").exists()


def test_a_bundle_that_is_there_is_left_alone(run, model, tmp_path):
    (tmp_path / "bundle").mkdir()
    result = run("models", "export", model, "--to", "monai-bundle", "--output", tmp_path / "bundle")
    assert (result.exit_code, "exists; choose" in result.stderr) == (2, True)
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "bundle").iterdir())
