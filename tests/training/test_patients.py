"""Cases of one patient stay on one side: by a table, by DICOM, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_phantom import Series, random_stored
from medseg.discovery.cases import Case
from medseg.errors import InputError
from medseg.training.patients import cases_of_patients
from medseg.training.splits import make_folds


def cases(*names):
    return [Case(name, (Path(f"{name}.nii.gz"),), Path(f"{name}.nii.gz")) for name in names]


def groups(root, *names):
    return [sorted(group) for group in cases_of_patients(root, cases(*names))]


@pytest.mark.parametrize(
    "names",
    [
        ("sub-01_ses-01_T1w", "sub-01_ses-02_T1w"),
        ("sub-ab12_run-1", "sub-ab12_run-2"),
        ("patient001_frame01", "patient001_frame12"),
        ("patient001_01", "patient001_02"),
        ("site_pat-7_ct", "site_pat-7_mr"),
        ("P012_pre", "P012_post"),
        ("SC-HF-I-01_f08", "SC-HF-I-01_f19"),
        ("case0042_t1", "case0042_t2"),
        ("BraTS-GLI-00005-100", "BraTS-GLI-00005-101"),
    ],
)
def test_names_say_who_it_is(tmp_path, names):
    assert groups(tmp_path, *names, "other") == [sorted(names)]


@pytest.mark.parametrize(
    "names",
    [
        ("hippocampus_001", "hippocampus_003"),
        ("BraTS2021_00001", "BraTS2021_00002"),
        ("liver_0", "liver_1"),
        ("patient001", "patient002"),
        ("path1_001", "path1_002"),
        ("MICCAI2012_scan01", "MICCAI2012_scan02"),
        ("s0011", "s0012"),
        ("Pancreas2018_012", "Pancreas2018_013"),
    ],
)
def test_a_common_beginning_is_no_patient(tmp_path, names):
    assert groups(tmp_path, *names) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("patients.csv", "case,patient\nc1,A\nc2_0000.nii.gz,A\nc3,B\n"),
        ("cases.csv", "\ufeffimage;Subject\nimages/c1.nii.gz;A\nc2;A\n"),
        ("participants.tsv", "case\tparticipant_id\nc1\tA\nc2\tA\nc3\t\n"),
    ],
)
def test_a_table_decides(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert groups(tmp_path, "c1", "c2", "c3") == [["c1", "c2"]]


def test_a_table_of_patients_needs_its_columns(tmp_path):
    (tmp_path / "patients.csv").write_text("name,age\nc1,40\n")
    with pytest.raises(InputError, match="needs the columns 'case' and 'patient'"):
        groups(tmp_path, "c1")


@pytest.mark.parametrize("ids", [("A", "B", "A"), ("A", "A", "A")])
def test_dicom_says_who_it_is_unless_all_are_called_alike(tmp_path, ids):
    made = []
    for number, who in enumerate(ids):
        folder = tmp_path / f"c{number}"
        Series(random_stored(seed=number), tags={"PatientID": who}).write(folder)
        made.append(Case(folder.name, (folder,), Path("none")))
    expected = (frozenset({"c0", "c2"}),) if "B" in ids else ()
    assert cases_of_patients(tmp_path, made) == expected


def test_folds_keep_patients_together_and_are_else_as_before():
    names = [f"c{number}" for number in range(20)]
    pairs = [frozenset({f"c{number}", f"c{number + 10}"}) for number in range(10)]
    folds = make_folds(names, pairs)
    assert len(folds) == 5
    assert sorted(name for fold in folds for name in fold.validation) == sorted(names)
    for fold in folds:
        assert all(group <= fold.train or group <= fold.validation for group in pairs)
        assert not fold.train & fold.validation
    assert make_folds(names) == make_folds(names, [frozenset({"c1"})])
    assert make_folds(names, [frozenset(names)]) == make_folds(names)
    assert len(make_folds(names, [frozenset(names[:10]), frozenset(names[10:])])) == 2
