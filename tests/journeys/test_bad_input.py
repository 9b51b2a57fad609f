"""The bad input of the issue: exit code 2, one sentence that names what and where, no leftovers."""

import errno
import json
import os

import nibabel as nib
import numpy as np
import pytest

from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.volume import LabelMap
from medseg.writing import write_labels


def missing_file(here):
    return here.segment(here.tmp / "nowhere.nii.gz"), "nowhere.nii.gz"


def empty_folder(here):
    (here.tmp / "empty").mkdir()
    return here.segment(here.tmp / "empty"), "empty"


def two_series(here):
    for number, turn in enumerate((0.0, 5.0), start=1):
        grid = ct_grid(shape=(12, 10, 8), spacing_mm=(30, 30, 30), turn_degrees=(0, 0, turn))
        write_series(abdominal_ct(1, grid)[0], here.tmp / "study", patient=1, number=number)
    return here.segment(here.tmp / "study"), "--series"


def another_shape(here):
    truth = here.phantom[1]
    small = ct_grid(shape=(8, 8, 8), spacing_mm=(40, 40, 40))
    write_labels(abdominal_ct(1, small)[1], here.tmp / "p.nii.gz")
    write_labels(truth, here.tmp / "t.nii.gz")
    return here.evaluate(), "(8, 8, 8)"


def value_not_in_the_table(here):
    truth = here.phantom[1]
    for name in ("p", "t"):
        write_labels(LabelMap(truth.values, truth.grid, truth.table), here.tmp / f"{name}.nii.gz")
    (here.tmp / "names.json").write_text(json.dumps({"1": "liver"}))
    return [*here.evaluate(), "--labels", here.tmp / "names.json"], "[2, 3, 4, 5, 6]"


def unreadable_nifti(here):
    (here.tmp / "bad.nii.gz").write_bytes(here.scan_file.read_bytes()[:300])
    return here.segment(here.tmp / "bad.nii.gz"), "bad.nii.gz"


def nan_voxels(here):
    voxels = np.zeros((16, 16, 16), np.float32)
    voxels[3, 4, 5] = np.nan
    nib.save(nib.Nifti1Image(voxels, np.diag([12.0, 12, 12, 1])), here.tmp / "nan.nii.gz")
    return here.segment(here.tmp / "nan.nii.gz"), "(0, 3, 4, 5)"


def wrong_checksum(here):
    weights = here.model / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    return here.segment(here.scan_file), "SHA-256"


def disk_full(here):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    here.monkeypatch.setattr(os, "fsync", full)
    return here.segment(here.scan_file), "disk is full"


CASES = (
    missing_file,
    empty_folder,
    two_series,
    another_shape,
    value_not_in_the_table,
    unreadable_nifti,
    nan_voxels,
    wrong_checksum,
    disk_full,
)


class Here:
    """What a case needs to set its trap."""

    def __init__(self, tmp, scan_file, model, phantom, monkeypatch):
        self.tmp, self.scan_file, self.model = tmp, scan_file, model
        self.phantom, self.monkeypatch = phantom, monkeypatch

    def segment(self, scan):
        return ["segment", scan, "--model", self.model, "--output", self.tmp / "out.nii.gz"]

    def evaluate(self):
        pair = (self.tmp / "p.nii.gz", self.tmp / "t.nii.gz")
        return ["evaluate", *pair, "--output", self.tmp / "out.json"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bad_input_is_one_sentence(case, run, tmp_path, scan_file, model, phantom, monkeypatch):
    arguments, word = case(Here(tmp_path, scan_file, model, phantom, monkeypatch))
    before = {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert word in result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines[0].startswith("medseg: error: ")
    assert all(line.startswith("  ") for line in lines[1:])  # only a list of series may follow
    assert "Traceback" not in result.output
    assert set(tmp_path.rglob("*")) == before
