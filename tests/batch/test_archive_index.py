"""The index of an archive: nothing is read twice, and nothing damaged or outdated is believed."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pydicom
import pytest

from dicom_phantom import Series, random_stored, save
from medseg.discovery import stack_facts
from medseg.errors import Cancelled
from medseg.volume import Grid, Scan
from medseg.writing import write_scan
from medseg_pipelines.batch.archive import index as archive_index
from medseg_pipelines.batch.archive import update, walk
from medseg_pipelines.batch.archive.search import search

_OPENED: list[str] = []
_LISTENING: list[str] = []


def _listen(event: str, args: tuple[object, ...]) -> None:
    if _LISTENING and event == "open" and isinstance(args[0], str | bytes):
        path = os.fsdecode(args[0])
        if path.startswith(_LISTENING[0]):
            _OPENED.append(path)


sys.addaudithook(_listen)  # of the interpreter itself: no way of opening a file escapes it


@contextmanager
def opened_below(root):
    """The files below a folder that are opened meanwhile."""
    _OPENED.clear()
    _LISTENING.append(str(root))
    seen = []
    try:
        yield seen
    finally:
        _LISTENING.clear()
        seen += _OPENED


_VISIT = "1.2.826.0.1.3680043.8.498.7"


def series(seed=0, slices=4, study=_VISIT, **changes):
    """Of one study: which one names the patient would else hang on what an index has seen."""
    return Series(random_stored((slices, 5, 6), seed), study=study, **changes)


@pytest.fixture
def archive(tmp_path):
    root = tmp_path / "root"
    for n in range(3):
        series(n).write(root / f"s{n}")
    for n in range(2):
        series(9 + n).write(root / "flat", prefix=str(n))
    scan = Scan(np.zeros((1, 2, 3, 4), np.int16), Grid((2, 3, 4), np.eye(4)))
    write_scan(scan, root / "brain.nii.gz")
    shutil.make_archive(str(root / "z"), "zip", root / "s0")
    (root / "words.txt").write_text("nothing")
    return root, tmp_path / "index"


def test_an_archive_that_did_not_change_is_not_read(archive):
    root, index = archive
    with opened_below(root) as first:
        before = search(root, index)
    assert len(first) >= 20  # the witness sees
    with opened_below(root) as second:
        assert search(root, index) == before
    assert second == []


def test_only_the_series_that_changed_is_read(archive):
    root, index = archive
    before = search(root, index)
    changed = next((root / "s1").iterdir())
    os.utime(changed, ns=(0, 1_600_000_000_000_000_000))
    with opened_below(root) as read:
        after = search(root, index)
    assert {Path(path).parent for path in read} == {root / "s1"}
    assert [one.key for one in after] == [one.key for one in before]


def test_a_series_of_a_folder_of_many_is_read_alone(archive):
    root, index = archive
    search(root, index)
    next(path for path in (root / "flat").iterdir() if path.name[0] == "1").unlink()
    with opened_below(root) as read:
        found = search(root, index)
    assert {Path(path).name[0] for path in read} == {"1"}
    assert len(read) == 3
    assert found == search(root, None)


def test_every_header_is_read_once(archive, monkeypatch):
    root, index = archive
    counted = []
    read = stack_facts.read_file
    monkeypatch.setattr(stack_facts, "read_file", lambda path: counted.append(path) or read(path))
    search(root, index)
    assert len(counted) == len(set(counted)) == 21  # five series of four, and the words


def test_with_little_memory_the_same_is_found(archive, monkeypatch):
    root, index = archive
    monkeypatch.setattr(update, "_MOST_HEADERS", 5)
    assert search(root, index) == search(root, None)
    monkeypatch.undo()
    assert search(root, index) == search(root, None)


@pytest.mark.parametrize("stop", [1, 7, 15, 22])
def test_an_interrupted_search_goes_on_where_it_was(archive, stop):
    root, index = archive
    whole = search(root, None)
    files = []

    def interrupt(done, total, message):
        files.append(message == "reading headers")
        if sum(files) == stop:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        search(root, index, progress=interrupt)
    with opened_below(root) as read:
        assert search(root, index) == whole
    assert 0 < len(set(read)) <= 24 - min(stop, 2)
    with opened_below(root) as read:
        assert search(root, index) == whole
    assert read == []


def test_what_was_read_before_a_kill_is_kept(archive, monkeypatch):
    root, index = archive
    monkeypatch.setattr(update, "_COMMIT_EVERY_S", 0.0)
    monkeypatch.setattr(archive_index.Index, "drop_folder", lambda *_: None)
    monkeypatch.setattr(update._Update, "_build", _die)
    with pytest.raises(MemoryError):
        search(root, index)
    monkeypatch.undo()
    assert search(root, index) == search(root, None)


def _die(*_):
    raise MemoryError


def damage_text(index):
    index.write_bytes(b"this is no index" * 200)


def damage_cut(index):
    index.write_bytes(index.read_bytes()[:5000])


def damage_empty(index):
    index.write_bytes(b"")


def damage_version(index):
    with sqlite3.connect(index) as sql:
        sql.execute("PRAGMA user_version = 99")


def damage_tables(index):
    with sqlite3.connect(index) as sql:
        sql.execute("DROP TABLE units")


def damage_content(index):
    with sqlite3.connect(index) as sql:
        sql.execute("UPDATE units SET content = CAST(replace(content, '4', '5') AS BLOB)")


def damage_type(index):
    with sqlite3.connect(index) as sql:
        sql.execute("UPDATE units SET content = CAST(content AS TEXT)")


def damage_name(index):
    with sqlite3.connect(index) as sql:
        sql.execute("UPDATE files SET unit = (SELECT min(unit) FROM units)")


def damage_schema(index):
    with sqlite3.connect(index) as sql:
        content = b'{"unknown": 1}'
        sql.execute(
            "UPDATE units SET content = ?, check_sum = ?",
            (content, archive_index._check_sum(content)),
        )


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_a_damaged_index_is_made_anew(archive, damage):
    root, index = archive
    before = search(root, index)
    for ending in ("-wal", "-shm"):
        index.with_name(index.name + ending).unlink(missing_ok=True)
    damage(index)
    assert search(root, index) == before
    with opened_below(root) as read:
        assert search(root, index) == before
    assert read == []


def test_bytes_that_flip_are_never_believed(archive):
    """Whatever byte flips, the list is what a search without an index finds, folders aside."""
    root, index = archive
    whole = [_without_folder(one) for one in search(root, None)]
    search(root, index)
    good = index.read_bytes()
    draw = random.Random(3)
    for _ in range(60):
        bad = bytearray(good)
        at = draw.randrange(100, len(bad))
        bad[at] ^= 1 << draw.randrange(8)
        index.write_bytes(bad)
        found = search(root, index)
        assert [_without_folder(one) for one in found] == whole, at


def _without_folder(one):
    return msgspec.structs.replace(one, folder="")


def test_the_index_of_another_folder_is_not_believed(archive, tmp_path):
    root, index = archive
    search(root, index)
    other = tmp_path / "other"
    shutil.copytree(root, other)  # with the same times, sizes and names
    path = min((other / "s1").iterdir())
    ds, seen = pydicom.dcmread(path), path.stat()
    uid = ds.SeriesInstanceUID
    ds.SeriesInstanceUID = uid[:-1] + ("1" if uid[-1] != "1" else "2")
    save(ds, path)
    assert path.stat().st_size == seen.st_size
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert search(other, index) == search(other, None)


def test_an_index_that_cannot_be_written_is_done_without(archive, tmp_path):
    root, _ = archive
    (tmp_path / "folder").mkdir()
    assert search(root, tmp_path / "folder") == search(root, None)
    (tmp_path / "file").write_text("no folder")
    assert search(root, tmp_path / "file" / "index") == search(root, None)


def test_a_full_disk_is_done_without(archive, monkeypatch):
    root, index = archive

    def full(*_):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    put = archive_index.Index.put_unit
    calls = []
    monkeypatch.setattr(
        archive_index.Index,
        "put_unit",
        lambda *words: full() if not calls.append(1) and len(calls) == 3 else put(*words),
    )
    assert search(root, index) == search(root, None)


def test_only_the_owner_reads_the_index(archive):
    root, index = archive
    search(root, index)
    assert index.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_opened_for_once_costs_nothing(archive, monkeypatch):
    root, index = archive
    before = search(root, index)
    scandir = os.scandir

    def refuse(path):
        if os.fsencode(path).endswith(b"/s1"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    during = search(root, index)
    faulty = [one for one in during if one.fault]
    assert {one.fault.code for one in faulty} == {"UNREADABLE"}
    assert {one.path for one in faulty} == {str(root / "s1")}
    assert [one.key for one in during if one.series] == [one.key for one in before if one.series]
    monkeypatch.undo()
    with opened_below(root) as read:
        assert search(root, index) == before
    assert read == []


def test_a_folder_that_closes_between_two_looks_costs_nothing(archive, monkeypatch):
    root, index = archive
    before = search(root, index)
    os.utime(next((root / "s1").iterdir()), ns=(0, 1_600_000_000_000_000_000))
    scandir, looks = os.scandir, []

    def refuse(path):
        if os.fsencode(path).endswith(b"/s1") and looks.append(path) is None and len(looks) > 1:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    during = search(root, index)
    assert [one.path for one in during if one.fault] == [str(root / "s1")] * 2
    assert [one.key for one in during if one.series] == [one.key for one in before if one.series]
    monkeypatch.undo()
    assert search(root, index) == search(root, None)


def test_a_folder_that_becomes_an_output_or_a_link_is_forgotten(archive, tmp_path):
    root, index = archive
    (root / "deep").mkdir()
    (root / "s1").rename(root / "deep" / "s1")
    (root / "s2").rename(tmp_path / "s2")
    search(root, index)
    (root / "s2").symlink_to(tmp_path / "s2")
    (root / "deep" / ".medseg").mkdir()
    found = search(root, index)
    assert found == search(root, None)
    assert {one.fault.code for one in found if one.fault} == {"LINK"}
    assert not [one for one in found if "deep" in one.path]


def test_a_patient_keeps_the_name_of_the_first_study_also_when_that_is_gone(tmp_path):
    root, index = tmp_path / "root", tmp_path / "index"
    for n in range(4):
        series(n, study=f"{_VISIT}.{n}").write(root / f"s{n}")
    (name,) = {one.folder.partition("/")[0] for one in search(root, index)}
    for n in range(3):
        shutil.rmtree(root / f"s{n}")
        assert {one.folder.partition("/")[0] for one in search(root, index)} == {name}


def test_a_file_that_cannot_be_opened_for_once_is_tried_again(archive, monkeypatch):
    root, index = archive
    bad = sorted((root / "s1").iterdir())[2]
    read = stack_facts.read_header

    def refuse(path, more):
        if path == bad:
            raise PermissionError(13, "Permission denied")
        return read(path, more)

    monkeypatch.setattr(stack_facts, "read_header", refuse)
    during = search(root, index)
    faulty = {one.path: one.fault.code for one in during if one.fault}
    assert faulty == {str(bad): "UNREADABLE", str(root / "s1"): "UNREADABLE"}
    monkeypatch.undo()
    assert search(root, index) == search(root, None)


def test_a_file_that_goes_while_we_look_is_not_missed_later(archive, monkeypatch):
    root, index = archive
    gone = min((root / "s1").iterdir())
    read = stack_facts.read_header

    def vanish(path, more):
        gone.unlink(missing_ok=True)
        return read(path, more)

    monkeypatch.setattr(stack_facts, "read_header", vanish)
    search(root, index)
    monkeypatch.undo()
    assert search(root, index) == search(root, None)
