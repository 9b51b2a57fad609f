"""What a modality may do with the listener, and what it may not: with dcmtk's own programs."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pydicom
import pynetdicom.association
import pynetdicom.dimse_messages
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, SegmentationStorage, Verification

from medseg.errors import InputError
from medseg.reading import read_scan
from medseg_pipelines.pacs import listener
from medseg_pipelines.pacs.settings import Allow, Limits, Own, Retry
from medseg_pipelines.pacs.validate import instance_name

STORESCU, ECHOSCU = "/usr/bin/storescu", "/usr/bin/echoscu"  # a venv may hold others of that name
needs_dcmtk = pytest.mark.skipif(
    not shutil.which(STORESCU), reason="no dcmtk here: apt-get install dcmtk"
)
CALLER = Allow(ae_titles=("SCANNER",))


@pytest.fixture
def listening(settings, spool_of, log):
    """Start a listener with some settings; gives its spool and port."""
    with contextlib.ExitStack() as stack:

        def start(**more):
            ours = settings(**{"allow": CALLER, **more})
            spool = spool_of(ours)
            return spool, stack.enter_context(listener.listening(ours, spool, log))

        yield start


def storescu(port, *files, calling="SCANNER", called="MEDSEG"):
    """Send files with dcmtk; its exit code."""
    return subprocess.run(
        [
            STORESCU,
            "-aet",
            calling,
            "-aec",
            called,
            "--max-send-pdu",
            "16384",
            "127.0.0.1",
            str(port),
            *map(str, files),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


def store(port, *datasets, classes=(CTImageStorage,), calling="SCANNER"):
    """Send data sets with pynetdicom; the statuses, empty ones where the connection broke."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 5
    for one in classes:
        entity.add_requested_context(one)
    line = entity.associate("127.0.0.1", port, ae_title="MEDSEG")
    if not line.is_established:
        return "rejected" if line.is_rejected else "aborted"
    try:
        return [line.send_c_store(one).get("Status") for one in datasets]
    finally:
        if line.is_established:
            line.release()


def slices(series):
    return sorted(series.iterdir())


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@needs_dcmtk
def test_a_series_arrives_out_of_order_and_twice(listening, series):
    spool, port = listening()
    files = np.random.default_rng(0).permutation(slices(series))
    assert storescu(port, *files[:7]) == 0
    assert storescu(port, *files[3:]) == 0
    assert storescu(port, *files) == 0
    (row,) = spool.database.series()
    assert (row.objects, row.conflicts, row.state) == (12, 0, "receiving")
    assert np.array_equal(read_scan(spool.folder(row.series)).voxels, read_scan(series).voxels)


@needs_dcmtk
def test_who_may_call(listening, series):
    spool, port = listening()
    assert storescu(port, slices(series)[0], calling="STRANGER") != 0
    assert storescu(port, slices(series)[0], called="OTHER") != 0
    assert spool.database.series() == []
    echo = [ECHOSCU, "-aet", "SCANNER", "-aec", "MEDSEG", "127.0.0.1", str(port)]
    assert subprocess.run(echo, timeout=30, check=False).returncode == 0


def test_addresses_that_may_not_connect(listening, series):
    spool, port = listening(allow=Allow(ae_titles=("SCANNER",), addresses=("192.0.2.0/24",)))
    assert store(port, pydicom.dcmread(slices(series)[0])) == "aborted"
    assert spool.database.series() == []


def test_nobody_may_call_unless_somebody_is_named(settings, spool_of, log):
    ours = settings(allow=Allow())
    with pytest.raises(InputError, match="nobody"):
        listener.listening(ours, spool_of(ours), log).__enter__()


def test_it_listens_on_loopback_only(listening):
    _, port = listening()
    table = [
        line.split()[1]
        for kind in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    (place,) = [one for one in table if one.endswith(f":{port:04X}")]
    assert place.split(":")[0] == "0100007F"


def test_a_port_that_is_taken(settings, spool_of, log):
    with socket.create_server(("127.0.0.1", 0)) as other:
        ours = settings(own=Own(port=other.getsockname()[1]), allow=CALLER)
        with pytest.raises(InputError, match="cannot listen"):
            listener.listening(ours, spool_of(ours), log).__enter__()


def test_objects_that_are_no_scans(listening, series):
    spool, port = listening()
    dataset = pydicom.dcmread(slices(series)[0])
    dataset.SOPClassUID = SegmentationStorage
    with pytest.raises(ValueError, match="No presentation context"):
        store(port, dataset, classes=(SegmentationStorage, Verification))
    assert spool.database.series() == []


def test_an_object_that_belies_its_class(listening, series):
    """Announced as CT, as which the context was accepted, and something else inside."""
    spool, port = listening()
    dataset = pydicom.dcmread(slices(series)[0])
    entity = AE("SCANNER")
    entity.add_requested_context(CTImageStorage)
    line = entity.associate("127.0.0.1", port, ae_title="MEDSEG")
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    line._get_valid_context = lambda *_, **__: line.accepted_contexts[0]
    status = line.send_c_store(dataset)
    line.release()
    assert status.Status == 0xA900
    assert spool.database.series() == []


@pytest.mark.parametrize(
    "limits", [Limits(disk_floor_gib=1e9), Limits(series_objects=1, disk_floor_gib=0)]
)
def test_no_room_is_out_of_resources(listening, series, limits):
    _, port = listening(limits=limits)
    first, second = map(pydicom.dcmread, slices(series)[:2])
    assert store(port, first, second)[-1] == 0xA700


def test_an_object_above_the_limit_breaks_the_connection(listening, series):
    spool, port = listening(limits=Limits(object_mib=1, disk_floor_gib=0))
    small, large = map(pydicom.dcmread, slices(series)[:2])
    large.Rows, large.Columns, large.PixelData = 2048, 1024, bytes(4 << 20)
    assert store(port, small, large) == [0, None]
    assert wait_for(lambda: not list(spool.incoming.glob("*.dcm")))
    (row,) = spool.database.series()
    assert row.objects == 1
    assert store(port, pydicom.dcmread(slices(series)[2])) == [0]


def test_a_same_uid_with_other_pixels_is_kept_apart_and_told(listening, series, lines):
    spool, port = listening()
    first = pydicom.dcmread(slices(series)[0])
    other = pydicom.dcmread(slices(series)[0])
    other.PixelData = bytes(len(other.PixelData))
    assert store(port, first, other, first) == [0, 0, 0]
    (row,) = spool.database.series()
    assert (row.objects, row.conflicts) == (1, 1)
    assert any("kept in conflicts/" in line for line in lines)


def test_the_number_of_associations_is_limited(listening):
    _, port = listening(limits=Limits(associations=2, disk_floor_gib=0))
    entity = AE("SCANNER")
    entity.add_requested_context(Verification)
    open_lines = [entity.associate("127.0.0.1", port, ae_title="MEDSEG") for _ in range(3)]
    assert [line.is_established for line in open_lines] == [True, True, False]
    assert open_lines[2].is_rejected
    for line in open_lines[:2]:
        line.release()
    last = entity.associate("127.0.0.1", port, ae_title="MEDSEG")
    assert last.is_established
    last.release()


HOSTILE = ["../../etc/x", "/tmp/x", "9" * 300, "1.2\0.3", "..", "C:\\x", "a\nb"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("uid", HOSTILE)
def test_hostile_uids_over_the_network(listening, series, monkeypatch, tmp_path, keyword, uid):
    """In the data set and, of the object, in the command too, as no library would send it."""
    spool, port = listening()
    dataset = pydicom.dcmread(slices(series)[0])
    before = set(tmp_path.rglob("*"))
    encode = pynetdicom.dimse_messages.encode

    def hostile(command, *arguments):
        if keyword == "SOPInstanceUID" and "AffectedSOPInstanceUID" in command:
            command.add_new("AffectedSOPInstanceUID", "UI", uid)
        return encode(command, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(pynetdicom.dimse_messages, "encode", hostile)
        patched.setattr(pynetdicom.association, "encode", spoilt(keyword, uid, encode))
        (status,) = store(port, dataset)
    assert status in ({0, 0xA900, None} if keyword == "SOPInstanceUID" else {0})
    added = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    inside = {path.relative_to(spool.root).parts[0] for path in added}
    assert inside <= {"series", "spool.sqlite", "spool.sqlite-wal", "spool.sqlite-shm"}
    assert all(len(path.stem) == 32 for path in added if path.suffix == ".dcm")
    assert store(port, pydicom.dcmread(slices(series)[1])) == [0]
    assert not list(spool.incoming.glob("*.dcm"))


def spoilt(keyword, uid, encode):
    """Encode a data set that says something else."""

    def encoding(dataset, *arguments):
        dataset.add_new(keyword, "UI", uid)
        return encode(dataset, *arguments)

    return encoding


def test_a_hostile_uid_in_the_data_set_behind_an_honest_command(listening, series):
    spool, port = listening()
    dataset = pydicom.dcmread(slices(series)[0])
    entity = AE("SCANNER")
    entity.add_requested_context(CTImageStorage)
    line = entity.associate("127.0.0.1", port, ae_title="MEDSEG")
    send = line.dimse.send_msg

    def swapped(request, context):
        request.AffectedSOPInstanceUID = "1.2.3"
        send(request, context)

    line.dimse.send_msg = swapped
    assert line.send_c_store(dataset).Status == 0xA900
    line.release()
    assert spool.database.series() == []


GARBAGE = {
    "words": b"GET / HTTP/1.1\r\n\r\n",
    "4 GiB": struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + b"\0" * 4096,
    "half": struct.pack(">BBL", 1, 0, 200) + b"\0" * 20,
    "nothing": b"",
    "unknown": struct.pack(">BBL", 99, 0, 4) + b"\0" * 4,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_harms_nobody_else(listening, series, what):
    spool, port = listening(retry=Retry(timeout_s=1.0))
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(GARBAGE[what])
        assert store(port, pydicom.dcmread(slices(series)[0])) == [0]
        line.settimeout(5)
        try:
            rest = line.recv(4096)
            while rest:
                rest = line.recv(4096)
        except ConnectionError:
            rest = b""
    assert rest == b""  # it was hung up on
    assert len(spool.database.series()) == 1


def test_names_are_those_of_the_objects(listening, series):
    spool, port = listening()
    dataset = pydicom.dcmread(slices(series)[0])
    store(port, dataset)
    (row,) = spool.database.series()
    assert spool.holds(row.series, instance_name(dataset.SOPInstanceUID))
