"""Outputs are complete or absent, and an old one stays until the new one is there."""

from __future__ import annotations

import errno

import numpy as np
import pytest

import medseg.writing.nifti as nifti_writer
from medseg.errors import WriteError
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.writing import write_labels
from medseg.writing._atomic import atomic

LABELS = LabelMap(
    np.ones((3, 4, 5), np.uint8), Grid((3, 4, 5), np.eye(4)), LabelTable.of({1: "liver"})
)


def test_any_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.nii"
    path.write_text("old")

    def fail():
        with atomic(path, suffix=".nii") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "DISK_FULL"), (errno.EACCES, "NO_PERMISSION")]
)
def test_what_the_system_says_becomes_one_sentence(tmp_path, number, code):
    def fail():
        with atomic(tmp_path / "a.nii", suffix=".nii") as temporary:
            temporary.write_text("half")
            raise OSError(number, "said by the system")

    with pytest.raises(WriteError, match=r"a\.nii") as caught:
        fail()
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_a_file_that_reads_back_otherwise_is_removed(tmp_path, monkeypatch):
    real = nifti_writer._read_back

    def lying(*arguments, **options):
        voxels, affine = real(*arguments, **options)
        return voxels * 0, affine

    monkeypatch.setattr(nifti_writer, "_read_back", lying)
    with pytest.raises(WriteError, match="equal voxels") as caught:
        write_labels(LABELS, tmp_path / "a.nii.gz")
    assert caught.value.code == "SELF_CHECK"
    assert not list(tmp_path.iterdir())


def test_a_file_that_lies_elsewhere_is_removed(tmp_path, monkeypatch):
    real = nifti_writer._read_back

    def shifted(*arguments, **options):
        voxels, affine = real(*arguments, **options)
        return voxels, affine + np.eye(4, k=3) * 0.02

    monkeypatch.setattr(nifti_writer, "_read_back", shifted)
    with pytest.raises(WriteError, match="same place"):
        write_labels(LABELS, tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())
