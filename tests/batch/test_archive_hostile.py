"""Archives made to harm: names, links, pipes, bombs; the search survives, and tells."""

from __future__ import annotations

import os
import re
import threading
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dicom_phantom import Series, random_stored
from medseg.discovery import find_scans
from medseg.discovery.label_places import is_label_map
from medseg.errors import MedsegError
from medseg.reading import read_scan
from medseg.volume import Grid, Scan
from medseg.writing import write_scan
from medseg_pipelines.batch.archive.search import read_archived_scan, search
from reading.test_hostile_dicom import BOMBS

DATA = Path(__file__).parents[3] / "shared" / "data"
SAFE = re.compile(r"(patient-[0-9a-f]{16}/study-[0-9a-f]{16}/series|files/file)-[0-9a-f]{16}")


def series(seed=0, slices=4, **changes):
    return Series(random_stored((slices, 5, 6), seed), **changes)


def put(path):
    write_scan(Scan(np.zeros((1, 2, 3, 4), np.int16), Grid((2, 3, 4), np.eye(4))), path)


def faults(found):
    return {Path(one.path).name: one.fault.code for one in found if one.fault}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_links_that_lead_out_are_named_and_not_followed(root, tmp_path):
    outside = tmp_path / "outside"
    series().write(outside / "s")
    put(outside / "scan.nii.gz")
    put(root / "own.nii.gz")
    (root / "folder").symlink_to(outside)
    (root / "scan.nii.gz").symlink_to(outside / "scan.nii.gz")
    (root / "nowhere").symlink_to(root / "is not there")
    (root / "climbs").symlink_to("../outside")
    found = search(root, tmp_path / "index")
    assert faults(found) == dict.fromkeys(("folder", "scan.nii.gz", "nowhere", "climbs"), "LINK")
    assert [Path(one.path).name for one in found if not one.fault] == ["own.nii.gz"]


def test_a_root_that_is_a_link_is_searched(root, tmp_path):
    put(root / "own.nii.gz")
    (tmp_path / "link").symlink_to(root)
    assert search(tmp_path / "link", None) == search(root, None)


def test_loops_are_harmless(root, tmp_path):
    series().write(root / "a" / "b")
    (root / "a" / "b" / "up").symlink_to(root / "a")
    (root / "a" / "self").symlink_to(root / "a" / "self")
    (root / "a" / "here").symlink_to(".")
    found = search(root, tmp_path / "index")
    assert [one.facts["slices"] for one in found if one.series] == [4]


def test_links_within_the_archive_are_found_where_they_lead(root, tmp_path):
    paths = series().write(root / "s")
    (root / "t").mkdir()
    for path in paths:
        (root / "t" / path.name).symlink_to(path)
    (one,) = search(root, tmp_path / "index")
    assert (one.path, one.fault, one.facts["copies"]) == (str(root / "s"), None, 0)


def test_links_to_hidden_files_are_followed(root, tmp_path):
    """As where a version control of data keeps the contents."""
    ct = series()
    for path in ct.write(root / ".store" / "s"):
        (root / path.name).symlink_to(path)
    (one,) = search(root, tmp_path / "index")
    assert one.fault is None
    assert np.array_equal(read_archived_scan(one).voxels[0], ct.values())


def test_a_slice_that_is_a_link_out_is_missed(root, tmp_path):
    paths = series().write(root / "s")
    aside = tmp_path / "aside"
    paths[0].rename(aside)
    paths[0].symlink_to(aside)
    found = search(root, tmp_path / "index")
    assert {one.fault.code for one in found} == {"LINK"}
    assert str(root / "s") in {one.path for one in found}


def test_a_link_beside_slices_is_not_read_with_them(root, tmp_path):
    ct = series()
    paths = ct.write(root / "s")
    (root / "s" / "again").symlink_to(paths[0].name)
    (one,) = search(root, tmp_path / "index")
    assert len(one.names) == 4
    assert not [note for note in read_archived_scan(one).provenance.notes if "copies" in note]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_hold_nothing_up(root, tmp_path):
    ct = series()
    ct.write(root / "s")
    os.mkfifo(root / "s" / "00001")
    done = []

    def work():
        (one,) = search(root, tmp_path / "index")
        done.append(np.array_equal(read_archived_scan(one).voxels[0], ct.values()))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    assert done == [True]


HOSTILE = ["../../../etc/cron.d/x", "1.2\0.3", "9" * 300, "-rf", "con", "..", "", "ä/\\:*?", "\n\t"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("uid", HOSTILE)
def test_identifiers_never_become_paths(root, tmp_path, uid):
    tags = {
        "PatientID": uid,
        "SeriesDescription": uid,
        "StudyInstanceUID": uid,
        "SeriesInstanceUID": uid,
        "SOPInstanceUID": uid,
    }
    series(slices=1, tags=tags).write(root / "s")
    (one,) = search(root, tmp_path / "index")
    assert SAFE.fullmatch(one.folder)
    assert one == msgspec.json.decode(msgspec.json.encode(one), type=type(one))
    assert [one] == search(root, tmp_path / "index")


def test_file_names_never_become_paths(root, tmp_path):
    names = [
        "a b.nii",
        "ü.nii",
        "new\nline.nii",
        "-rf.nii",
        "x" * 251 + ".nii",
        "$(id).nii",
        "'.nii",
    ]
    for name in names:
        put(root / name)
    found = search(root, tmp_path / "index")
    assert [Path(one.path).name for one in found] == sorted(names)
    assert all(SAFE.fullmatch(one.folder) for one in found)
    assert len({one.folder for one in found}) == len(names)


def test_names_that_are_no_text_are_told(root, tmp_path):
    bad = Path(os.fsdecode(os.fsencode(root) + b"/M\xfcller"))
    try:
        bad.mkdir()
    except OSError:
        pytest.skip("this file system knows only UTF-8")
    (bad / "x.nii").write_bytes(b"nothing")
    put(root / "own.nii.gz")
    one, other = search(root, tmp_path / "index")
    assert (one.path, one.fault.code) == (str(root / "M") + "\\xfcller", "NAME")
    assert other.path == str(root / "own.nii.gz")
    msgspec.json.encode([one, other])


def test_a_path_longer_than_the_system_takes_ends_nothing(root, tmp_path):
    put(root / "own.nii.gz")
    here = os.open(root, os.O_RDONLY)
    try:
        for _ in range(25):
            os.mkdir("d" * 200, dir_fd=here)
            inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
    finally:
        os.close(here)
    found = search(root, tmp_path / "index")
    assert {one.fault.code for one in found if one.fault} == {"UNREADABLE"}
    assert [one.path for one in found if not one.fault] == [str(root / "own.nii.gz")]


def slip(archive):
    archive.writestr("../out.dcm", b"x")


def absolute(archive):
    archive.writestr("/tmp/out.dcm", b"x")


def link(archive):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    archive.writestr(entry, "/etc/passwd")


def bomb(archive):
    archive.writestr("bomb", bytes(64 << 20))


def torn(archive):
    archive.writestr("torn.dcm", bytes(128) + b"DICM" + bytes(5))


ZIPS = {
    slip: "UNSAFE_ARCHIVE",
    absolute: "UNSAFE_ARCHIVE",
    link: "UNSAFE_ARCHIVE",
    bomb: "TOO_LARGE",
    torn: "DAMAGED",
}


@pytest.mark.parametrize("attack", ZIPS, ids=lambda one: one.__name__)
def test_archives_that_attack_are_refused(root, tmp_path, attack):
    with zipfile.ZipFile(root / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        attack(archive)
    put(root / "own.nii.gz")
    found = search(root, tmp_path / "index")
    assert faults(found) == {"x.zip": ZIPS[attack]}
    assert "x.zip" not in next(one.fault.message for one in found if one.fault)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "index.lock", "root"]


def test_a_zip_cut_short_is_told(root):
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        archive.writestr("a", b"x" * 999)
    (root / "x.zip").write_bytes((root / "x.zip").read_bytes()[:500])
    assert faults(search(root, None)) == {"x.zip": "DAMAGED"}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda one: one.__name__)
def test_bombs_do_not_hurt_what_lies_beside_them(root, tmp_path, bomb):
    good = series()
    good.write(root / "good")
    (root / "bad").mkdir()
    bomb(root / "bad" / "bomb.dcm")
    found = search(root, tmp_path / "index")
    assert [one.series for one in found if one.path == str(root / "good")] == [good.uid]
    assert not [one for one in found if one.fault and one.path == str(root / "good")]
    assert search(root, tmp_path / "index") == found
    if bomb.__name__ == "deflated_bomb":
        assert faults(found) == {"bomb.dcm": "TOO_LARGE"}


@pytest.mark.parametrize(
    "name", ["hippocampus_dicom_crops", "dicom_seg_rtstruct", "brain_mr_itksnap"]
)
def test_real_archives_are_found_as_by_find_scans(tmp_path, name):
    folder = (DATA / name).resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    listed = {(str(one.path), one.series_uid) for one in find_scans(folder)}
    found = search(folder, tmp_path / "index")
    damaged = {one.path for one in found if one.fault and not one.series}
    label_maps = {one.path for one in found if is_label_map(Path(one.path))}
    scans = {(one.path, one.series) for one in found if one.path not in damaged | label_maps}
    assert scans <= listed
    assert len({one.folder for one in found}) == len(found)
    assert search(folder, tmp_path / "index") == found
    for one in found[:3]:
        assert one.fault or _same(one)


def _same(one):
    try:
        scan = read_scan(one.path, series=one.series or None)
    except MedsegError:
        return True
    return np.array_equal(read_archived_scan(one).voxels, scan.voxels, equal_nan=True)
