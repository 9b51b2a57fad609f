"""Series come from a real Orthanc and from servers that misbehave; what is here is not fetched."""

from __future__ import annotations

import msgspec
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from medseg.reading import read_scan
from medseg_pipelines.cli import medseg
from medseg_pipelines.pacs.client import connect
from medseg_pipelines.pacs.dicomweb import DicomWeb
from medseg_pipelines.pacs.errors import NoRoomError, PeerError
from medseg_pipelines.pacs.listener import listening
from medseg_pipelines.pacs.settings import Limits, Peer, Retry
from medseg_pipelines.pacs.transfer import Puller
from pacs.conftest import without_none
from pacs.fake_servers import fake_web
from pacs.real_orthanc import free_port

QUERY = {"PatientID": "PHANTOM01", "Modality": "CT"}
CONTENT = 12


@pytest.fixture
def puller():
    def of(line, spool, *, retry=None, pauses=None):
        quick = retry or Retry(attempts=3, first_s=0.01, most_s=0.02, timeout_s=1.0)
        waits = [] if pauses is None else pauses
        return Puller(line, spool, retry=quick, pause=waits.append)

    return of


def pixels(folder):
    return read_scan(folder).voxels


@pytest.fixture
def receiving(orthanc, archive, settings, spool_of, log):
    """Our settings and spool, with a listener that Orthanc knows."""
    ours = settings(archive)
    spool = spool_of(ours)
    with listening(ours, spool, log) as port:
        orthanc.knows("MEDSEG", port)
        yield ours, spool


@pytest.mark.parametrize("via", ["dicomweb", "c-get", "c-move"])
def test_from_orthanc(orthanc, archive, receiving, puller, series, via):
    orthanc.fill(series)
    ours, spool = receiving
    with connect(archive, ours, spool, via=via) as line:
        pull = puller(line, spool, retry=ours.retry)
        (offered,) = pull.find(QUERY)
        pulled = pull.pull(offered)
        again = pull.pull(offered)
    assert (pulled.objects, pulled.fetched, pulled.code) == (CONTENT, CONTENT, "")
    assert (again.fetched, again.here_before) == (0, CONTENT)
    (row,) = spool.database.series()
    assert (row.state, row.objects, row.expected) == ("ready", CONTENT, CONTENT)
    assert np.array_equal(pixels(spool.folder(row.series)), pixels(series))


def test_only_what_is_missing_or_spoilt_is_fetched(
    orthanc, archive, settings, spool_of, puller, series
):
    orthanc.fill(series)
    spool = spool_of(settings(archive))
    with connect(archive, settings(archive), spool, via="dicomweb") as line:
        pull = puller(line, spool)
        (offered,) = pull.find(QUERY)
        pull.pull(offered)
        files = sorted(spool.folder(offered.name).iterdir())
        before = {path: path.stat().st_ino for path in files}
        files[0].unlink()
        whole = files[1].read_bytes()
        files[1].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        pulled = pull.pull(offered)
    assert (pulled.fetched, pulled.here_before, pulled.code) == (2, CONTENT - 2, "")
    assert files[0].exists()
    assert files[1].read_bytes() == whole
    assert all(path.stat().st_ino == before[path] for path in files[2:])


def test_c_move_to_a_service_that_listens_already(orthanc, archive, receiving, run_pull, series):
    """The command starts no second listener for a spool that is served."""
    orthanc.fill(series)
    ours, spool = receiving
    lock = spool.lock()
    assert spool.is_served
    assert run_pull(ours, via="c-move")
    lock.release()
    assert not spool.is_served
    assert spool.database.series()[0].state == "ready"


@pytest.fixture
def run_pull(tmp_path):
    """The pull command on some settings; whether all that was found is here."""

    def pulling(ours, **more):
        path = tmp_path / "pacs.toml"
        path.write_bytes(msgspec.toml.encode(without_none(msgspec.to_builtins(ours))))
        options = [f"--{name}={value}" for name, value in {"settings": path, **more}.items()]
        options += [f"--query={keyword}={value}" for keyword, value in QUERY.items()]
        return CliRunner().invoke(medseg, ["pacs", "pull", *options]).exit_code == 0

    return pulling


@pytest.mark.parametrize("via", ["dicomweb", "dimse"])
def test_what_a_query_finds(orthanc, archive, settings, spool_of, series, via):
    orthanc.fill(series)
    spool = spool_of(settings(archive))
    with connect(archive, settings(archive), spool, via=via) as line:
        assert line.echo()
        assert len(line.find(QUERY)) == 1
        assert line.find({"PatientID": "NOBODY"}) == []
        assert line.find({"Modality": "MR"}) == []
        (one,) = line.find({"StudyDate": "20240101-20240131"}, most=5)
        assert (one.objects, one.modality) == (CONTENT, "CT")


def test_results_beside_a_scan_are_no_scans(orthanc, archive, settings, spool_of, puller, series):
    report = pydicom.dcmread(next(series.iterdir()))
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    report.Modality, report.SeriesInstanceUID, report.SOPInstanceUID = "SR", "1.2.9", "1.2.9.9"
    orthanc.fill(series)
    spool = spool_of(settings(archive))
    report.save_as(spool.scratch())
    orthanc.ask("/instances", data=next(spool.incoming.glob("*.part")).read_bytes())
    with connect(archive, settings(archive), spool) as line:
        assert len(line.find({"PatientID": "PHANTOM01"})) == 2
        assert len(puller(line, spool).find({"PatientID": "PHANTOM01"})) == 1


@pytest.fixture
def web(series):
    """A fake service with three slices of the series."""
    paths = sorted(series.iterdir())[:3]
    first = pydicom.dcmread(paths[0])
    objects = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in paths}
    with fake_web(
        objects=objects, study=str(first.StudyInstanceUID), series=str(first.SeriesInstanceUID)
    ) as fake:
        yield fake


@pytest.fixture
def line(web, settings, spool_of):
    spool = spool_of(settings())
    peer = Peer(name="fake", dicomweb=web.url)
    retry = Retry(attempts=3, first_s=0.01, most_s=0.02, timeout_s=0.6)
    with DicomWeb(peer, spool=spool, retry=retry) as opened:
        opened.spool = spool
        yield opened


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (401, "FORBIDDEN"),
        (403, "FORBIDDEN"),
        (503, "BUSY"),
        (429, "BUSY"),
        (404, "ANSWER"),
        ("silent", "TIMEOUT"),
        ("reset", "RESET"),
        ("page", "ANSWER"),
    ],
)
def test_what_goes_wrong_is_one_sentence_with_a_code(web, line, what, code):
    web.plan = [what]
    with pytest.raises(PeerError) as caught:
        line.find({"Modality": "CT"})
    assert caught.value.code == code
    assert "'fake'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert web.url not in str(caught.value)


def test_a_peer_that_is_not_there(settings, spool_of):
    peer = Peer(name="gone", dicomweb=f"http://127.0.0.1:{free_port()}/dicom-web")
    spool = spool_of(settings())
    with (
        DicomWeb(peer, spool=spool, retry=Retry(timeout_s=1)) as line,
        pytest.raises(PeerError, match="cannot be reached") as caught,
    ):
        line.echo()
    assert caught.value.code == "UNREACHABLE"


@pytest.mark.parametrize("cut", [0, 1, 60, 200, 700, 1500])
@pytest.mark.parametrize("what", ["reset", "short"])
def test_a_connection_that_ends_in_the_middle_is_tried_again(web, line, puller, what, cut):
    web.plan = ["good", "good", "good", what]  # the second object
    web.cut = cut
    waits = []
    pull = puller(line, line.spool, pauses=waits)
    (offered,) = pull.find({"Modality": "CT"})
    pulled = pull.pull(offered)
    assert (pulled.fetched, pulled.code, len(waits)) == (3, "", 1)
    fetched = [path for path in web.asked if "/instances/" in path]
    assert len(fetched) == 4  # the first was not fetched twice


def test_a_busy_peer_is_given_up_after_some_attempts_and_gone_on_with_later(web, line, puller):
    web.plan = ["good", "good", "good", 503, 503, 503]
    waits = []
    pull = puller(line, line.spool, pauses=waits)
    (offered,) = pull.find({"Modality": "CT"})
    pulled = pull.pull(offered)
    assert (pulled.code, pulled.fetched, len(waits)) == ("BUSY", 1, 2)
    assert all(0.005 <= wait <= 0.02 for wait in waits)
    (row,) = line.spool.database.series()
    assert (row.state, row.expected) == ("receiving", 3)
    again = pull.pull(offered)
    assert (again.fetched, again.here_before, again.code) == (2, 1, "")
    assert line.spool.database.series()[0].state == "ready"


def test_what_will_not_pass_is_not_tried_again(web, line, puller):
    web.plan = ["good", "good", 403]
    waits = []
    pull = puller(line, line.spool, pauses=waits)
    (offered,) = pull.find({"Modality": "CT"})
    assert pull.pull(offered).code == "FORBIDDEN"
    assert waits == []


def test_a_series_is_whole_only_with_as_many_as_the_peer_counts(web, line, puller):
    web.counted = 5
    pull = puller(line, line.spool)
    (offered,) = pull.find({"Modality": "CT"})
    pulled = pull.pull(offered)
    assert (pulled.code, pulled.fetched, pulled.objects) == ("INCOMPLETE", 3, 5)
    assert line.spool.database.series()[0].state == "receiving"


def test_another_object_than_was_asked_for_is_not_kept(web, line, puller):
    web.plan = ["good", "good", "other"]
    pull = puller(line, line.spool)
    (offered,) = pull.find({"Modality": "CT"})
    pulled = pull.pull(offered)
    assert (pulled.refused, pulled.code) == (1, "REFUSED")


HOSTILE = ["../../etc/x", "1.2.3/../9", "9" * 300, "1.2\0", "", "1.2.3?x=1"]


@pytest.mark.parametrize("uid", HOSTILE)
@pytest.mark.parametrize("which", ["study", "series"])
def test_hostile_uids_of_a_series_go_no_further(web, line, puller, which, uid):
    setattr(web, which, uid)
    with pytest.raises(PeerError, match="no UID") as caught:
        puller(line, line.spool).find({"Modality": "CT"})
    assert caught.value.code == "ANSWER"


@pytest.mark.parametrize("uid", HOSTILE)
def test_hostile_uids_of_objects_reach_neither_disk_nor_wire(web, line, puller, tmp_path, uid):
    web.objects = {uid: next(iter(web.objects.values()))}
    before = sorted(tmp_path.rglob("*"))
    pull = puller(line, line.spool)
    (offered,) = pull.find({"Modality": "CT"})
    assert pull.pull(offered).code == "ANSWER"
    assert not [path for path in web.asked if ".." in path or "x=1" in path or len(path) > 500]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_endless_answer_ends_at_the_limit(web, settings, spool_of, puller):
    spool = spool_of(settings(limits=Limits(object_mib=1, disk_floor_gib=0.0)))
    web.plan = ["good", "good", "endless"]
    peer = Peer(name="fake", dicomweb=web.url)
    with DicomWeb(peer, spool=spool, retry=Retry(timeout_s=5)) as line:
        pull = puller(line, spool)
        (offered,) = pull.find({"Modality": "CT"})
        with pytest.raises(NoRoomError):
            pull.pull(offered)
    assert not [path for path in spool.incoming.iterdir() if path.suffix == ".part"]


def test_an_endless_list_ends_at_the_limit(web, line):
    web.plan = ["endless"]
    with pytest.raises(PeerError) as caught:
        line.find({"Modality": "CT"})
    assert caught.value.code == "ANSWER"


def test_secrets_are_sent_and_not_shown(web, settings, spool_of, monkeypatch):
    monkeypatch.setenv("PACS_TOKEN", "very-secret")
    peer = Peer(name="fake", dicomweb=web.url, token_env="PACS_TOKEN")
    spool = spool_of(settings())
    web.plan = [401]
    with (
        DicomWeb(peer, spool=spool, retry=Retry(timeout_s=1)) as line,
        pytest.raises(PeerError) as caught,
    ):
        line.echo()
    assert "very-secret" not in str(caught.value)
    assert web.seen["Authorization"] == "Bearer very-secret"
