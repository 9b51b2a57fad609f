import errno
import os

import pytest

from medseg.errors import InputError, WriteError
from medseg.reading.file_names import without_suffix
from medseg.workflows.outputs import check_folder, check_label_file
from medseg.writing import write_text


def test_a_text_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_text(tmp_path / "new" / "a.txt", "one\n")
    assert path.read_text() == "one\n"

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space"):
        write_text(path, "two\n")
    assert path.read_text() == "one\n"
    assert [one.name for one in path.parent.iterdir()] == ["a.txt"]


def test_checking_a_place_leaves_nothing_there(tmp_path):
    check_folder(tmp_path / "not" / "yet")
    check_label_file(tmp_path / "not" / "yet.nii.gz")
    assert not list(tmp_path.iterdir())


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        check_folder(tmp_path / "file" / "below")


def test_an_unknown_suffix_names_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        check_label_file(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.NII.GZ", "a.nii", "a.seg.nrrd", "a.dcm", "a"])
def test_stems(tmp_path, name):
    assert without_suffix(tmp_path / name) == "a"
