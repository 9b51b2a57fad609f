"""Damaged, empty and halved series of an archive: a fault of their own, and of no other."""

import pytest

from dicom_phantom import Series, random_stored, save
from medseg.reading.dicom.series import list_stacks
from medseg_pipelines.batch.archive.search import search


def series(seed=0):
    return Series(random_stored((4, 5, 6), seed))


@pytest.mark.parametrize(
    "content", [b"", bytes(100), bytes(128) + b"DICM" + bytes(9)], ids=["empty", "zeros", "torn"]
)
def test_a_damaged_file_among_slices_is_a_fault_of_their_series(tmp_path, content):
    root, index = tmp_path / "root", tmp_path / "index"
    series().write(root / "a")
    series(1).write(root / "b")
    before = search(root, index)
    (root / "a" / "00099").write_bytes(content)
    a, b = search(root, index)
    code = "DAMAGED" if b"DICM" in content else "EMPTY"
    assert (a.fault.code, a.key) == (code, before[0].key)
    assert {stack.refusal.code for stack in list_stacks(root / "a")} == {code}
    assert a.signature != before[0].signature
    assert b == before[1]
    (root / "a" / "00099").unlink()
    assert search(root, index) == before


def test_a_foreign_empty_file_is_told_and_no_fault(tmp_path):
    root, index = tmp_path / "root", tmp_path / "index"
    series().write(root / "a")
    series(1).write(root / "b")
    before = search(root, index)
    (root / "a" / "LOCKFILE").touch()
    (root / "LOCKFILE").touch()
    a, b = search(root, index)
    assert (a.fault, b) == (None, before[1])
    assert "empty file" in a.notes[-1]


def test_halves_of_a_series_are_never_done_one_by_one(tmp_path):
    one = series()
    for k in range(4):
        ds = one.slice(k)
        ds.SeriesInstanceUID = one.uid if k % 2 else ""
        save(ds, tmp_path / f"{k}")
    found = search(tmp_path, None)
    assert {scan.fault.code for scan in found} == {"BLANK_UID"}
