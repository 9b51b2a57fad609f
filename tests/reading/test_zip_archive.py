"""Zip archives of DICOM: read as the folder is, never written outside, never left behind."""

from __future__ import annotations

import stat
import struct
import tempfile
import zipfile

import numpy as np
import pytest

from dicom_phantom import Series, random_stored
from medseg.discovery import find_scans
from medseg.discovery.inspection import inspect
from medseg.discovery.scans import sources_below
from medseg.errors import InputError, ReadError, SelectionError
from medseg.reading import Policies, read_scan
from medseg.runtime.progress import silent


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """A temporary folder of its own, empty again after each test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def packed(path, files, *, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def series_files(tmp_path, series, folder="a", **options):
    paths = series.write(tmp_path / folder, **options)
    return [(f"study/{folder}/{one.name}", one.read_bytes()) for one in paths if one.exists()]


def test_read_as_the_folder_is(tmp_path):
    series = Series(random_stored())
    files = [*series_files(tmp_path, series), ("study/notes.txt", b"words"), ("empty/", b"")]
    scan = read_scan(packed(tmp_path / "s.zip", files))
    assert np.array_equal(scan.voxels[0], series.values())
    np.testing.assert_allclose(scan.grid.to_world((1, 2, 3)), series.world(1, 2, 3), atol=1e-6)
    assert scan.provenance.files == (tmp_path / "s.zip",)
    assert scan.provenance.instance_uids == ()
    assert any("unpack" in note for note in scan.provenance.notes)


def test_series_and_policies(tmp_path):
    one, two = Series(random_stored((5, 5, 4))), Series(random_stored((3, 6, 8)))
    files = series_files(tmp_path, one, "a", skip=(2,)) + series_files(tmp_path, two, "b")
    path = packed(tmp_path / "s.zip", files)
    with pytest.raises(SelectionError):
        read_scan(path)
    assert read_scan(path, series=two.uid).grid.shape == (8, 6, 3)
    policies = Policies(missing="interpolate")
    assert read_scan(path, series=one.uid, policies=policies).grid.shape == (4, 5, 5)


@pytest.fixture
def archive(tmp_path):
    """A study of two series as an archive, in a folder of its own."""
    one, two = Series(random_stored((5, 5, 4))), Series(random_stored((3, 6, 8)))
    files = series_files(tmp_path, one, "a", skip=(2,)) + series_files(tmp_path, two, "b")
    (tmp_path / "in" / "deep").mkdir(parents=True)
    return packed(tmp_path / "in" / "deep" / "study.zip", files), one.uid, two.uid


@pytest.mark.parametrize("up", [0, 1, 2])
def test_each_stack_of_an_archive_is_found(archive, up):
    """Given itself, in its folder, in the folder above."""
    path, gapped, whole = archive
    sources = find_scans((path, *path.parents)[up])
    assert {(one.path, one.series_uid) for one in sources} == {(path, gapped), (path, whole)}
    assert len({one.name for one in sources}) == 2
    scans = {one.series_uid: one for one in sources}
    assert read_scan(path, series=scans[whole].series_uid).grid.shape == (8, 6, 3)


def test_reports_on_an_archive_are_those_of_its_folder(archive):
    path, *_ = archive
    folder = path.parents[2] / "unpacked"
    with zipfile.ZipFile(path) as packed_files:
        packed_files.extractall(folder)
    for pixels in (False, True):
        here, there = (inspect(place, pixels=pixels) for place in (path, folder))
        told = [
            {
                one.series_uid: (one.verdict.outcome, one.verdict.code, one.shape, one.modality)
                for one in reports
            }
            for reports in (here, there)
        ]
        assert told[0] == told[1]
        assert sorted(one.verdict.code for one in here) == ["", "MISSING_SLICE"]
        assert {one.name for one in here} == {one.name for one in find_scans(path)}


def test_archives_that_are_damaged_or_of_other_things_are_named(tmp_path, archive):
    path, *_ = archive
    path.write_bytes(path.read_bytes()[:2000])
    other = packed(path.with_name("notes.zip"), [("notes.txt", b"words")])
    found, skipped = sources_below(
        path.parent, pictures=False, describe=lambda _: None, progress=silent
    )
    assert skipped == [other]
    ((damaged, _),) = found
    with pytest.raises(ReadError):
        read_scan(damaged.path)
    (report,) = inspect(path)
    assert (report.format, report.verdict.code) == ("zip", "DAMAGED")


@pytest.mark.parametrize(
    "name", ["../out", "/etc/out", "a/../../out", "..\\out", "C:\\out", "a/b:c"]
)
def test_paths_that_lead_out_are_refused(tmp_path, name):
    files = series_files(tmp_path, Series(random_stored()))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ReadError) as caught:
        read_scan(packed(tmp_path / "s.zip", [*files, (name, b"x")]))
    assert caught.value.code == "UNSAFE_ARCHIVE"
    assert set(tmp_path.rglob("*")) == before | {tmp_path / "s.zip"}


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ReadError) as caught:
        read_scan(packed(tmp_path / "s.zip", [(link, b"/etc/passwd")]))
    assert caught.value.code == "UNSAFE_ARCHIVE"


@pytest.mark.parametrize("honest", [True, False], ids=["honest", "lying"])
def test_bombs_are_refused(tmp_path, honest):
    path = packed(tmp_path / "s.zip", [("1", bytes(64 << 20))])
    if not honest:
        content = path.read_bytes().replace(struct.pack("<I", 64 << 20), struct.pack("<I", 9999))
        path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read_scan(path)
    assert caught.value.code == ("TOO_LARGE" if honest else "DAMAGED")


def test_too_many_entries(tmp_path):
    path = packed(tmp_path / "s.zip", [("1", b"x")])
    content = bytearray(path.read_bytes())
    content[-12:-10] = struct.pack("<H", 65535)
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read_scan(path)
    assert caught.value.code == "TOO_LARGE"


def test_truncation_and_archives_of_other_things(tmp_path):
    path = packed(tmp_path / "s.zip", series_files(tmp_path, Series(random_stored())))
    whole = path.read_bytes()
    for part in (10, 50, 95):
        path.write_bytes(whole[: len(whole) * part // 100])
        with pytest.raises(InputError):
            read_scan(path)
    with pytest.raises(InputError) as caught:
        read_scan(packed(tmp_path / "t.zip", [("notes.txt", b"words")]))
    assert caught.value.code == "NO_IMAGES"
    assert "medseg-" not in str(caught.value)
