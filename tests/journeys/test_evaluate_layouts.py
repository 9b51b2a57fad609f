"""What can be trained on can be measured against, in whichever way it is laid out."""

import json

import numpy as np
import pytest

from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.writing import write_labels, write_scan

GRID = Grid((8, 7, 6), np.diag([1.0, 1, 2, 1]))
NAMES = {1: "liver", 2: "spleen"}


def blocks(*values):
    """Blocks of 8 voxels of these values, apart from one another."""
    array = np.zeros(GRID.shape, np.uint8)
    for row, value in enumerate(values):
        array[1 + 3 * row : 3 + 3 * row, 2:4, 2:4] = value
    return array


def save(path, values, names=NAMES):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(LabelMap(values, GRID, LabelTable.of(names)), path)


def scan(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_scan(Scan(np.ones((1, *GRID.shape), np.float32), GRID), path)


def patients(root):
    scan(root / "a" / "ct.nii.gz")
    save(root / "a" / "label.nii.gz", blocks(1, 2))
    return root


def bids(root):
    scan(root / "sub-a" / "anat" / "sub-a_T1w.nii.gz")
    save(root / "derivatives" / "m" / "sub-a" / "anat" / "sub-a_dseg.nii.gz", blocks(1, 2))
    return root


def masks(root):
    scan(root / "images" / "a.nii.gz")
    for number, name in enumerate(("liver", "spleen")):
        parts = [number == 0, number == 1]
        save(root / "labels" / f"a_{name}.nii.gz", blocks(*parts), {1: "label 1"})
    return root


def table(root):
    scan(root / "x.nii.gz")
    save(root / "y.nii.gz", blocks(1, 2))
    (root / "cases.csv").write_text("case;image;label\na;x.nii.gz;y.nii.gz\n")
    return root / "cases.csv"


def flat(root):
    scan(root / "a.nii.gz")
    save(root / "a_seg.nii.gz", blocks(1, 2))
    return root


@pytest.mark.parametrize("layout", [patients, masks, table, flat, bids])
def test_the_truth_is_a_dataset(run, tmp_path, layout):
    truth = layout(tmp_path / "truth")
    case = "sub-a" if layout is bids else "a"
    save(tmp_path / "predicted" / f"{case}.nii.gz", blocks(2, 0), {2: "Liver", 1: "spleen"})
    output = tmp_path / "scores.json"
    result = run("evaluate", tmp_path / "predicted", truth, "--output", output, "--no-surface")
    assert result.exit_code == 0, result.output
    scores = json.loads(output.read_text())
    assert [row["case"] for row in scores["cases"]] == [case]
    assert {name: row["dice"] for name, row in scores["cases"][0]["labels"].items()} == {
        "liver": 1.0,
        "spleen": 0.0,
    }


def test_predictions_may_be_a_folder_of_masks_for_each_case(run, tmp_path):
    truth = patients(tmp_path / "truth")
    save(tmp_path / "predicted" / "a" / "liver.nii.gz", blocks(1, 0), {1: "label 1"})
    save(tmp_path / "predicted" / "a" / "spleen.nii.gz", blocks(0, 1), {1: "label 1"})
    output = tmp_path / "scores.json"
    result = run("evaluate", tmp_path / "predicted", truth, "--output", output, "--no-surface")
    assert result.exit_code == 0, result.output
    assert json.loads(output.read_text())["mean_over_labels"]["dice"] == 1.0


def test_names_that_contradict_the_table_are_refused(run, tmp_path):
    truth = patients(tmp_path / "truth")
    save(tmp_path / "predicted" / "a.nii.gz", blocks(1, 2), {1: "spleen", 2: "kidney"})
    names = tmp_path / "names.json"
    names.write_text('{"1": "liver", "2": "spleen"}')
    arguments = ("evaluate", tmp_path / "predicted", truth, "--output", tmp_path / "s.json")
    result = run(*arguments, "--labels", names)
    assert result.exit_code == 2
    assert "1 spleen, 2 kidney" in result.stderr
    assert "1 liver, 2 spleen" in result.stderr
