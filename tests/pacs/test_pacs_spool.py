"""The spool: names are digests, files appear whole, duplicates are harmless, limits hold."""

from __future__ import annotations

import shutil

import pydicom
import pytest

from medseg_pipelines.pacs.errors import NoRoomError, RefusedError
from medseg_pipelines.pacs.settings import Limits
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.validate import instance_name


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool", Limits(disk_floor_gib=0.1))
    yield opened
    opened.close()


@pytest.fixture
def send(spool, tmp_path):
    """Hand a file to the spool, changed by keyword first."""

    def handed(path, *, target=None, pixels=None, **fields):
        spool_ = target or spool
        dataset = pydicom.dcmread(path)
        for keyword, value in fields.items():
            dataset.add_new(keyword, pydicom.datadict.dictionary_VR(keyword), value)
        if pixels is not None:
            dataset.PixelData = pixels
        scratch = spool_.scratch()
        dataset.save_as(scratch)
        uid = fields.get("SOPInstanceUID", dataset.SOPInstanceUID)
        return spool_.add(scratch, announced=uid)[0]

    return handed


def paths(series):
    return sorted(series.iterdir())


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_series_is_a_folder_that_can_be_read(spool, send, series):
    from medseg.reading import read_scan

    assert {send(path) for path in paths(series)} == {"new"}
    (row,) = spool.database.series()
    assert (row.objects, row.state) == (12, "receiving")
    assert read_scan(spool.folder(row.series)).grid.shape == (32, 24, 12)
    assert not [path for path in spool.incoming.iterdir() if path.suffix == ".part"]


def test_the_same_object_again_changes_nothing(spool, send, series):
    first = paths(series)[0]
    send(first)
    before = everything(spool.root / "series")
    assert send(first) == "known"
    assert everything(spool.root / "series") == before
    assert spool.database.series()[0].generation == 1


def test_a_file_that_was_spoilt_is_mended_by_the_next_copy(spool, send, series):
    send(paths(series)[0])
    (file,) = (spool.root / "series").glob("*/*.dcm")
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert send(paths(series)[0]) == "known"
    assert file.read_bytes() == whole
    assert list((spool.root / "conflicts").iterdir()) == []


def test_an_edited_header_is_no_other_picture(spool, send, series):
    send(paths(series)[0])
    assert send(paths(series)[0], PatientName="Corrected^Name") == "edited"
    assert spool.database.series()[0].conflicts == 0


@pytest.mark.parametrize("change", [{"RescaleIntercept": "-1000"}, {"pixels": b"\1" * 1536}])
def test_another_picture_of_the_same_uid_is_kept_apart(spool, send, series, change):
    first = paths(series)[0]
    send(first)
    (kept,) = (spool.root / "series").glob("*/*.dcm")
    before = kept.read_bytes()
    assert send(first, **change) == "conflict"
    assert kept.read_bytes() == before
    assert len(list((spool.root / "conflicts").glob("*/*.dcm"))) == 1
    assert spool.database.series()[0].conflicts == 1
    assert send(first, **change) == "conflict"  # once more: still one
    assert len(list((spool.root / "conflicts").glob("*/*.dcm"))) == 1


def test_a_late_slice_opens_the_series_again(spool, send, series):
    for path in paths(series)[:-1]:
        send(path)
    (row,) = spool.database.series()
    assert spool.database.set_state(row, "done")
    send(paths(series)[-1])
    (row,) = spool.database.series()
    assert (row.state, row.objects) == ("receiving", 12)


def test_a_series_that_grew_while_it_was_segmented_is_not_done(spool, send, series):
    send(paths(series)[0])
    (row,) = spool.database.series()
    send(paths(series)[1])
    assert not spool.database.set_state(row, "done")
    assert spool.database.series()[0].state == "receiving"


HOSTILE = ["../../etc/x", "/etc/passwd", "9" * 300, "1.2\0.3", "..", "C:\\x", "a\nb", "1.2/3"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("uid", HOSTILE)
@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_hostile_uids_name_nothing(spool, send, series, tmp_path, keyword, uid):
    before = everything(tmp_path)
    assert send(paths(series)[0], **{keyword: uid}) == "new"
    added = set(everything(tmp_path)) - set(before)
    (file,) = [name for name in added if name.endswith(".dcm")]
    assert file.startswith("spool/series/")
    assert all(name.startswith("spool/series") for name in added)
    stem = file.split("/")[-1].removesuffix(".dcm")
    assert len(stem) == 32
    assert set(stem) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "CLASS"),
        ({"SOPClassUID": "1.2.3"}, "CLASS"),
        ({"SeriesInstanceUID": ""}, "NAME"),
        ({"StudyInstanceUID": ""}, "NAME"),
    ],
)
def test_what_is_not_taken(spool, send, series, fields, code):
    with pytest.raises(RefusedError) as caught:
        send(paths(series)[0], **fields)
    assert caught.value.code == code
    assert spool.database.series() == []
    assert everything(spool.incoming) in ([], [".in-use"])


def test_an_object_that_is_not_the_one_announced(spool, series):
    scratch = spool.scratch()
    shutil.copyfile(paths(series)[0], scratch)
    with pytest.raises(RefusedError) as caught:
        spool.add(scratch, announced="1.2.3")
    assert caught.value.code == "NAME"


@pytest.mark.parametrize("cut", [0, 100, 140, 400])
def test_a_truncated_object_is_refused(spool, series, cut):
    scratch = spool.scratch()
    scratch.write_bytes(paths(series)[0].read_bytes()[:cut])
    with pytest.raises(RefusedError):
        spool.add(scratch, announced="1.2.3")
    assert not scratch.exists()


def test_a_deflated_object_is_refused_unread(spool, series):
    dataset = pydicom.dcmread(paths(series)[0])
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    scratch = spool.scratch()
    dataset.save_as(scratch)
    with pytest.raises(RefusedError):
        spool.add(scratch, announced=dataset.SOPInstanceUID)


@pytest.mark.parametrize(
    ("limits", "good"),
    [
        (Limits(series_objects=3, disk_floor_gib=0.0), 3),
        (Limits(disk_floor_gib=1e9), 0),
    ],
)
def test_limits(tmp_path, send, series, limits, good):
    spool = Spool(tmp_path / "small", limits)
    for path in paths(series)[:good]:
        send(path, target=spool)
    with pytest.raises(NoRoomError):
        send(paths(series)[good], target=spool)
    assert sum(row.objects for row in spool.database.series()) == good
    if good:  # what is known already needs no room
        assert send(paths(series)[0], target=spool) == "known"
    spool.close()


def test_large_objects_are_refused(tmp_path):
    spool = Spool(tmp_path / "small", Limits(object_mib=1, disk_floor_gib=0.0))
    spool.check_room(1 << 20)
    with pytest.raises(NoRoomError, match="1 MiB"):
        spool.check_room((1 << 20) + 1)
    spool.close()


def test_the_files_are_the_truth(spool, send, series):
    """A process may die between any two steps; the next one notes what is there."""
    for path in paths(series)[:4]:
        send(path)
    (row,) = spool.database.series()
    files = sorted(spool.folder(row.series).iterdir())
    with spool.database.transaction() as connection:  # died before these two were noted
        for file in files[:2]:
            connection.execute("DELETE FROM objects WHERE instance = ?", (file.stem,))
    files[3].unlink()  # noted, but gone
    (spool.folder(row.series) / "not-a-digest.dcm").write_bytes(b"half")
    dead = spool.incoming.parent / "left"
    dead.mkdir()
    (dead / "a.part").write_bytes(b"half")
    assert spool.recover() == 2
    (row,) = spool.database.series()
    assert row.objects == 3
    assert {path.stem for path in spool.folder(row.series).iterdir()} == {
        path.stem for path in files[:3]
    }
    assert not dead.exists()
    assert spool.incoming.is_dir()


def test_what_another_process_is_receiving_is_left_alone(spool, tmp_path):
    other = Spool(tmp_path / "spool", spool.limits)
    scratch = other.scratch()
    scratch.write_bytes(b"half")
    spool.recover()
    assert scratch.exists()
    other.close()


def test_holds_looks_at_the_bytes(spool, send, series):
    dataset = pydicom.dcmread(paths(series)[0])
    send(paths(series)[0])
    (row,) = spool.database.series()
    name = instance_name(dataset.SOPInstanceUID)
    assert spool.holds(row.series, name)
    file = spool.folder(row.series) / f"{name}.dcm"
    spoilt = bytearray(file.read_bytes())
    spoilt[-1] ^= 1
    file.write_bytes(spoilt)
    assert not spool.holds(row.series, name)


def test_one_process_works_on_a_spool(spool):
    from medseg.errors import InputError

    lock = spool.lock()
    with pytest.raises(InputError, match="another"):
        spool.lock()
    lock.release()


def test_the_spool_is_for_its_owner_alone(spool, send, series):
    send(paths(series)[0])
    for folder in (spool.root, spool.incoming, *(spool.root / "series").iterdir()):
        assert folder.stat().st_mode & 0o077 == 0
