"""The forms of the zoo's bundles: the labels that ``python -m monai.bundle run`` writes."""

import json
import subprocess
import sys

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medseg.inference import Options, Predictor
from medseg.model_package import find_package
from medseg.reading import read_scan
from medseg.reading.channels import read_channels
from zoo_bundles import KINDS, write_bundle

AFFINE = np.array([[-1.9, 0, 0.1, 40], [0, 1.7, 0, -31], [0.1, 0, 3.1, 12], [0, 0, 0, 1]])
ORDINARY = [kind for kind in KINDS if kind != "endoscopic_tool"]


def blobs(seed):
    """Smooth values between about -300 and 300, with air around them; shape (44, 39, 23)."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(44, 39, 23)), 2.5)
    values = 300 * noise / np.abs(noise).max()
    values[:3] = values[:, -4:] = -1000
    return values.astype(np.float32)


def write_scans(folder, kind):
    folder.mkdir()
    for n, name in enumerate(KINDS[kind].get("channels", ["image"])):
        nib.save(nib.Nifti1Image(blobs(n), AFFINE), folder / f"case_{name}.nii.gz")
    return sorted(folder.iterdir(), key=lambda path: path.name)


def by_monai(bundle, output, **overrides):
    """Values of the one file that MONAI writes."""
    config = next((bundle / "configs").glob("inference.*"))
    monai.bundle.run(
        run_id="run",
        config_file=str(config),
        meta_file=str(bundle / "configs" / "metadata.json"),
        bundle_root=str(bundle),
        output_dir=str(output),
        **overrides,
    )
    (path,) = (file for file in output.rglob("*") if file.is_file())
    return path


@pytest.mark.parametrize("kind", ORDINARY)
def test_labels_are_those_of_monai(kind, tmp_path):
    bundle = write_bundle(tmp_path / kind, kind)
    files = write_scans(tmp_path / "data", kind)
    order = [str(path) for path in files] if len(files) > 1 else str(files[0])
    theirs = by_monai(bundle, tmp_path / "theirs", **{"dataset#data": [{"image": order}]})
    values = np.asarray(nib.load(theirs).dataobj).squeeze()
    labels = Predictor.load(bundle, device="cpu").predict(read_channels(files))
    whole = values == np.round(values)  # MONAI interpolates the labels of prostate_mri
    assert whole.mean() > (0.5 if kind == "prostate_mri" else 1 - 1e-9)
    assert (labels.values == values)[whole].mean() >= 0.9999
    assert len(np.unique(values[whole])) > 1
    assert np.allclose(labels.grid.affine, AFFINE, atol=1e-5)


@pytest.mark.slow
def test_a_picture_of_another_size_is_labelled_as_by_monai(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", "endoscopic_tool")
    picture = np.stack([blobs(n).max(2) for n in range(3)], -1)
    picture = ((picture + 300) / 600 * 255).clip(0, 255).astype(np.uint8)
    (tmp_path / "data").mkdir()
    Image.fromarray(np.kron(picture, np.ones((3, 2, 1), np.uint8))).save(tmp_path / "data/a.png")
    data = [{"image": str(tmp_path / "data/a.png")}]
    theirs = by_monai(bundle, tmp_path / "theirs", **{"dataset#data": data})
    values = np.asarray(Image.open(theirs)).T / 255
    labels = Predictor.load(bundle, device="cpu").predict(read_scan(tmp_path / "data/a.png"))
    assert labels.values.shape == (78, 132, 1)
    assert 0 < values.mean() < 1
    assert (labels.values[..., 0] == values).mean() >= 0.9999


@pytest.mark.slow
def test_the_command_of_monai_writes_what_medseg_writes(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", "spleen_ct")
    (scan,) = write_scans(tmp_path / "data", "spleen_ct")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file"]
    command += [str(bundle / "configs/inference.json"), "--bundle_root", str(bundle)]
    command += ["--dataset_dir", str(scan.parent), "--output_dir", str(tmp_path / "theirs")]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    (theirs,) = (tmp_path / "theirs").rglob("*.nii.gz")
    values = np.asarray(nib.load(theirs).dataobj).squeeze()
    labels = Predictor.load(bundle, device="cpu").predict(read_scan(scan))
    assert (labels.values == values).mean() >= 0.9999


def test_what_a_bundle_says_of_itself_is_told(tmp_path):
    package = find_package(write_bundle(tmp_path / "bundle", "brats_mri"))
    manifest = package.manifest
    assert manifest.plan.channels == ("T1c", "T1", "T2", "FLAIR")
    assert [(label.value, label.name) for label in manifest.labels] == [
        (1, "Tumor core"),
        (2, "Whole tumor"),
        (4, "Enhancing tumor"),
    ]
    assert manifest.card.modality == "CT"
    assert json.loads(manifest.weights.sha256[:0] or "0") == 0
    assert len(manifest.weights.sha256) == 64


def test_probabilities_lie_on_the_scan_and_agree_with_labels(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", "spleen_ct")
    (path,) = write_scans(tmp_path / "data", "spleen_ct")
    scan = read_scan(path)
    options = Options(uncertainty=True, probability_of="spleen", probabilities=True)
    answer = Predictor.load(bundle, device="cpu").run(scan, options)
    spleen = answer.labels.values == 1
    assert answer.probabilities.channel_names == ("background", "spleen")
    assert answer.probabilities.voxels.shape == (2, *scan.grid.shape)
    assert answer.probabilities.voxels[1][spleen].min() >= 127
    assert answer.probability.voxels[0][~spleen].max() <= 50
    assert answer.uncertainty.voxels.max() <= 50


@pytest.mark.slow
def test_outside_a_box_nothing_is_labelled_and_inside_as_before(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", "swin_unetr_btcv")
    (path,) = write_scans(tmp_path / "data", "swin_unetr_btcv")
    predictor, scan = Predictor.load(bundle, device="cpu"), read_scan(path)
    whole = predictor.predict(scan).values
    box = (slice(5, 20), slice(8, 30), slice(2, 9))
    part = predictor.run(scan, Options(roi=box)).labels.values
    assert np.array_equal(part[box], whole[box])
    assert part.sum() == part[box].sum()
