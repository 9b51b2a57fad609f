"""The shipped model and real training on real scans, the way a user runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from medseg.metrics import overlap
from medseg.reading import read_labels, read_scan
from medseg.volume import Grid, Scan
from medseg.writing import write_scan
from medseg_pipelines.cli import medseg

MODEL = ("--model", "hippocampus-mr", "--output")
CROP = "hippocampus_dicom_crops/Study1/13_HCropVolume"


def run(*arguments: object) -> str:
    """What a command prints; it must end well."""
    result = CliRunner().invoke(medseg, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_shipped_model_labels_a_real_scan_on_its_own_grid(shared_data, tmp_path):
    folder = shared_data / "hippocampus"
    scan, output = folder / "images" / "hippocampus_001.nii.gz", tmp_path / "mask.nii.gz"
    printed = run("segment", scan, "--model", "hippocampus-mr", "--output", output)
    assert "anterior" in printed
    found = read_labels(output)
    assert found.table.names == ("anterior", "posterior")
    assert np.array_equal(found.grid.affine, read_scan(scan).grid.affine)
    truth = read_labels(folder / "labels" / "hippocampus_001.nii.gz", table=found.table)
    scores = overlap(found, truth)
    assert min(score.dice for score in scores.values()) > 0.85


def test_padding_changes_no_label_and_a_whole_head_is_told(shared_data, tmp_path):
    scan = read_scan(shared_data / "hippocampus" / "images" / "hippocampus_017.nii.gz")
    run("segment", write_scan(scan, tmp_path / "bare.nii.gz"), *MODEL, tmp_path / "a.nii.gz")
    sides = ((8, 3), (0, 30), (8, 8))
    voxels = np.pad(scan.voxels, ((0, 0), *sides), constant_values=scan.voxels.min() - 5)
    padded = write_scan(Scan(voxels, Grid(voxels.shape[1:], scan.grid.affine)), tmp_path / "b.nii")
    printed = run("segment", padded, *MODEL, tmp_path / "padded.nii.gz")
    bare, found = (read_labels(tmp_path / name).values for name in ("a.nii.gz", "padded.nii.gz"))
    assert np.array_equal(found, np.pad(bare, sides))
    assert "learned from" not in printed
    tiled = np.tile(scan.voxels, (1, 4, 1, 1))
    head = write_scan(Scan(tiled, Grid(tiled.shape[1:], scan.grid.affine)), tmp_path / "head.nii")
    printed = " ".join(run("segment", head, *MODEL, tmp_path / "head.nii.gz").split())
    assert "that the model learned from are about 35 x 50.5 x 36 mm" in printed


def test_a_real_dicom_series_has_its_head_in_front(shared_data, tmp_path):
    for name in ("mask.nii.gz", "mask.dcm"):
        run("segment", shared_data / CROP, "--model", "hippocampus-mr", "--output", tmp_path / name)
    found, seg = read_labels(tmp_path / "mask.nii.gz"), read_labels(tmp_path / "mask.dcm")
    assert np.array_equal(found.grid.affine, read_scan(shared_data / CROP).grid.affine)
    assert np.array_equal(seg.values, found.values)
    assert seg.grid.same_as(found.grid)
    places = [found.grid.to_world(np.argwhere(found.values == value)) for value in (1, 2)]
    forward = places[0].mean(axis=0)[1] - places[1].mean(axis=0)[1]
    assert 8 < forward < 30  # mm, anterior label before the posterior one
    for place in places:
        assert 0.8 < len(place) * found.grid.voxel_volume_mm3 / 1000 < 4  # ml


@pytest.mark.slow
def test_training_on_real_scans_learns(shared_data, tmp_path):
    folder = shared_data / "hippocampus"
    names = json.loads((folder / "splits.json").read_text())["folds"][0]
    splits, labels = tmp_path / "splits.json", tmp_path / "labels.json"
    splits.write_text(json.dumps([{"train": names["train"][:40], "val": names["val"][:4]}]))
    labels.write_text('{"1": "anterior", "2": "posterior"}')
    run(
        "train",
        folder,
        "--output",
        tmp_path / "run",
        "--splits",
        splits,
        "--labels",
        labels,
        "--modality",
        "MR",
        "--steps",
        120,
        "--device",
        "cpu",
    )
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert manifest["scores"]["mean_over_labels"] > 0.7
    assert manifest["plan"]["patch"] == [40, 56, 40]
