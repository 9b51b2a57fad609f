"""Scans below a folder: all of them, each under a name of its own."""

from __future__ import annotations

import re

import numpy as np
import pytest
import SimpleITK

from dicom_phantom import CANARY, Series, random_stored
from medseg.discovery import find_scans
from medseg.discovery.inspection import inspect
from medseg.discovery.scans import sources_below
from medseg.errors import GeometryError, ReadError
from medseg.reading import read_scan
from medseg.runtime.progress import silent
from medseg.volume import Grid, Scan
from medseg.writing import write_scan


def put(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_scan(Scan(np.full((1, 2, 3, 4), value, np.int16), Grid((2, 3, 4), np.eye(4))), path)


def test_files_and_stacks_are_found_and_readable(tmp_path):
    put(tmp_path / "x" / "one.nii.gz")
    put(tmp_path / "two.nrrd")
    Series(random_stored((3, 4, 5))).write(tmp_path / "study" / "series a")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".hidden.nii.gz").write_bytes(b"nothing")
    sources = find_scans(tmp_path)
    assert {source.name for source in sources} == {"one", "two", "study_series_a"}
    assert sources == sorted(sources, key=lambda one: (one.path, one.series_uid))
    for source in sources:
        assert read_scan(source.path, series=source.series_uid or None).channels == 1


def test_label_maps_are_no_scans(tmp_path):
    for name in (
        "images/a.nii.gz",
        "labels/a.nii.gz",
        "b.nrrd",
        "b.seg.nrrd",
        "other/labels/c.nii",
    ):
        put(tmp_path / name)
    found = {source.path.relative_to(tmp_path).as_posix() for source in find_scans(tmp_path)}
    assert found == {"images/a.nii.gz", "b.nrrd", "other/labels/c.nii"}


def test_names_are_unique(tmp_path):
    for name in ("a/ct.nii.gz", "b/ct.nii.gz", "b/CT.nrrd", "a_ct.nii", "c/d.nii"):
        put(tmp_path / name)
    names = [source.name for source in find_scans(tmp_path)]
    assert len({name.casefold() for name in names}) == 5
    assert "d" in names
    assert names == [source.name for source in find_scans(tmp_path)]


def test_two_series_in_one_folder_are_told_apart(tmp_path):
    for n in range(2):
        Series(random_stored((3, 4, 5 + n))).write(tmp_path / "both", prefix=str(n))
    sources = find_scans(tmp_path)
    assert all(re.fullmatch(r"both_[0-9a-f]{8}", source.name) for source in sources)
    widths = {read_scan(one.path, series=one.series_uid).grid.shape[0] for one in sources}
    assert widths == {5, 6}


def test_a_series_over_several_folders_is_one_scan(tmp_path):
    paths = Series(random_stored((4, 3, 5))).write(tmp_path / "s" / "one")
    (tmp_path / "s" / "two").mkdir()
    for path in paths[2:]:
        path.rename(tmp_path / "s" / "two" / path.name)
    (source,) = find_scans(tmp_path)
    assert source.path == tmp_path / "s"
    assert read_scan(source.path, series=source.series_uid).grid.shape == (5, 3, 4)


def test_what_will_be_refused_is_listed_too(tmp_path):
    Series(random_stored((5, 3, 4))).write(tmp_path / "gap", skip=(2,))
    (tmp_path / "torn.dcm").write_bytes(bytes(128) + b"DICM" + bytes(5))
    gap, torn = find_scans(tmp_path)
    with pytest.raises(GeometryError):
        read_scan(gap.path, series=gap.series_uid)
    with pytest.raises(ReadError):
        read_scan(torn.path)


def test_pictures_are_found_when_asked_for_and_named_when_not(tmp_path):
    put(tmp_path / "one.nii.gz")
    names = ["a.png", "b.jpg", "c.tif"]
    for name in names:
        picture = SimpleITK.GetImageFromArray(np.full((4, 5), 7, np.uint8))
        SimpleITK.WriteImage(picture, str(tmp_path / name))
    (tmp_path / "words.png").write_text("no picture")
    found, skipped = sources_below(
        tmp_path, pictures=False, describe=lambda _: None, progress=silent
    )
    assert [source.name for source, _ in found] == ["one"]
    assert [path.name for path in skipped] == [*names, "words.png"]
    every = find_scans(tmp_path, pictures=True)
    assert [one.name for one in every] == ["a", "b", "c", "one"]
    assert [read_scan(one.path).grid.shape[2] for one in every[:3]] == [1, 1, 1]
    assert [one.format for one in inspect(tmp_path)] == ["picture"] * 3 + ["nifti"]


def test_names_hold_no_patient_text(tmp_path):
    Series(random_stored((3, 4, 5))).write(tmp_path / "series")
    assert not [one for one in find_scans(tmp_path) if CANARY in repr(one)]


def test_not_a_folder(tmp_path):
    with pytest.raises(ReadError, match="nowhere"):
        find_scans(tmp_path / "nowhere")


def test_a_detached_nrrd_is_found_by_its_header(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nhdr"))
    (found,) = find_scans(tmp_path)
    assert found.path.name == "scan.nhdr"
    assert read_scan(found.path).grid.shape == (4, 3, 2)


def test_files_that_hold_no_scan_are_counted_and_named(tmp_path):
    Series(random_stored((3, 4, 5))).write(tmp_path / "series")
    put(tmp_path / "one.nii.gz")
    for name in ("notes.txt", "series/LOCK", "DICOMDIR", ".hidden"):
        (tmp_path / name).write_text("words")
    told = []
    reports = inspect(tmp_path, progress=lambda _done, _total, text: told.append(text))
    assert [one.verdict.outcome for one in reports] == ["ok", "ok"]
    (sentence,) = {text for text in told if "passed over" in text}
    assert sentence.startswith("2 other file(s)")
    assert "notes.txt" in sentence
    assert "LOCK" in sentence
