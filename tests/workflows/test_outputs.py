"""Whether a result can be written is decided in one place, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import InputError, WriteError
from medseg.reading.file_names import without_suffix
from medseg.volume import Grid, NativeSlices, Provenance, Scan
from medseg.workflows.outputs import check, check_file, check_label_file

FILES = tuple(Path(f"{number}.dcm") for number in range(3))
UIDS = ("1.1", "1.2", "1.3")


def scan_of(source: Provenance, affine=None) -> Scan:
    grid = Grid((4, 5, 3), np.eye(4) if affine is None else affine)
    return Scan(np.zeros((1, *grid.shape), np.int16), grid, "CT", source)


@pytest.mark.parametrize("name", ["a.dcm", "a.rtstruct.dcm", "a.sr.dcm"])
@pytest.mark.parametrize(
    ("source", "code", "word"),
    [
        (Provenance("dicom", FILES, "1", UIDS), "", ""),
        (Provenance("nifti", (Path("a.nii"),)), "NO_DICOM_SOURCE", "came from nifti"),
        (Provenance("dicom", (Path("a.ZIP"),), "1"), "NO_DICOM_SOURCE", "unpack it"),
        (Provenance("dicom", FILES, "1", ("1.1", "", "1.3")), "BLANK_UIDS", "blank SOPInstance"),
        (Provenance("dicom", FILES, "1"), "BLANK_UIDS", "blank SOPInstance"),
        (
            Provenance("dicom", FILES, "1", laterality_known=False),
            "NO_DICOM_SOURCE",
            "a 2-D image without one",
        ),
    ],
)
def test_what_can_become_dicom(name, source, code, word):
    reason = check(scan_of(source), name)
    assert (reason.code if reason else "") == code
    assert word in str(reason)
    assert check(scan_of(source), "a.nii.gz") is None


def test_a_repaired_scan_becomes_dicom_by_its_own_slices():
    grids = tuple(Grid((4, 5, 1), np.eye(4)) for _ in range(2))
    native = NativeSlices(grids, FILES[:2], UIDS[:2])
    assert check(scan_of(Provenance("dicom", FILES[:2], "1", native=native)), "a.dcm") is None
    blank = NativeSlices(grids, FILES[:2], ("1.1", ""))
    reason = check(scan_of(Provenance("dicom", FILES[:2], "1", native=blank)), "a.dcm")
    assert reason is not None
    assert reason.code == "BLANK_UIDS"


@pytest.mark.parametrize("name", ["a.nrrd", "a.seg.nrrd", "a.mha"])
def test_a_sheared_grid_has_formats_that_cannot_hold_it(name):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    reason = check(scan_of(Provenance("nifti"), affine), name)
    assert reason is not None
    assert reason.code == "SHEARED"
    assert check(scan_of(Provenance("nifti")), name) is None


def test_suffix_and_encoding_need_no_scan():
    assert check(None, "a.nii.gz") is None
    assert check(None, "a.dcm", encoding="labelmap") is None
    for name, encoding, code in (("a.jpg", None, "UNKNOWN_FORMAT"), ("a.nii", "auto", "ENCODING")):
        reason = check(None, name, encoding=encoding)
        assert reason is not None
        assert reason.code == code


def test_the_input_is_never_the_output(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"scan")
    for refuse in (check_file, check_label_file):
        with pytest.raises(InputError, match="the input itself"):
            refuse(path, sources=[path])
        refuse(tmp_path / "b.nii.gz", sources=[path])
    with pytest.raises(WriteError, match="encoding"):
        check_label_file(path, encoding="auto")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("case 7.nii.gz", "case 7"),
        ("a.SEG.NRRD", "a"),
        ("a.rtstruct.dcm", "a"),
        ("a.gipl.gz", "a"),
        ("cells.png", "cells"),
        ("1.2.840.113", "1.2.840.113"),
        ("patient.v2", "patient.v2"),
    ],
)
def test_names_lose_what_says_their_format(name, stem):
    assert without_suffix(Path(name)) == stem
