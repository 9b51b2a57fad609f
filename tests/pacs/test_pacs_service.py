"""From the modality to the archive and back: nothing lost, nothing done twice."""

from __future__ import annotations

import json
import sqlite3
import time

import numpy as np
import pydicom
import pytest

from medseg.errors import InputError, MedsegError
from medseg.reading import read_labels, read_scan
from medseg_pipelines.pacs.segmenting import LastingWorkers, Segmenter
from medseg_pipelines.pacs.settings import Completeness, Peer, Retry, Work
from pacs.fake_servers import fake_web
from writing.dicom_validator import errors_of

AT_ONCE = Completeness(silence_s=0.0, give_up_s=0.0)


@pytest.fixture(scope="module")
def crew():
    """Workers for all tests of this file: each takes seconds to start."""
    shared = LastingWorkers()
    yield shared
    shared.end()


@pytest.fixture
def segmenter(crew, log, monkeypatch):
    """Real segmenting."""

    def of(settings, spool):
        with monkeypatch.context() as patched:
            patched.setattr("medseg_pipelines.pacs.segmenting.LastingWorkers", lambda: crew)
            return Segmenter(settings, spool, log, check=lambda: None)

    return of


def state(spool):
    (row,) = spool.database.series()
    return row.state, row.code


def states(spool):
    return sorted((row.file, row.state) for row in spool.database.deliveries())


@pytest.fixture
def hospital(orthanc, archive, settings, spool_of, serving, segmenter, model):
    """A service with Orthanc as its destination, by keyword of its work; and its spool."""

    def made(*, completeness=AT_ONCE, **work):
        ours = settings(
            archive,
            completeness=completeness,
            work=Work(model=str(model), destination="archive", device="cpu", **work),
        )
        spool = spool_of(ours)
        return serving(ours, spool, segmenter(ours, spool)), spool

    return made


@pytest.mark.slow
def test_end_to_end_with_orthanc(hospital, orthanc, put, series, tmp_path):
    orthanc.fill(series)
    service, spool = hospital(
        completeness=Completeness(silence_s=0.0, ask="archive", give_up_s=600),
        send=("dicom-seg", "sr"),
        encoding="labelmap",
        via="dimse",
    )
    put(spool, slice(0, 9))
    assert service.segment() == 0  # Orthanc counts twelve
    assert state(spool) == ("receiving", "INCOMPLETE")
    put(spool, slice(9, None))
    assert service.segment() == 1
    assert state(spool) == ("done", "")
    assert service.send() == 2
    assert states(spool) == [("measurements.sr.dcm", "delivered"), ("seg.dcm", "delivered")]
    assert (service.segment(), service.send()) == (0, 0)
    (seg,), (report,) = orthanc.instances("SEG"), orthanc.instances("SR")
    for name, path in ((seg, tmp_path / "seg.dcm"), (report, tmp_path / "sr.dcm")):
        path.write_bytes(orthanc.file(name))
        assert errors_of(path) == []
    dataset, scan = pydicom.dcmread(tmp_path / "seg.dcm"), read_scan(series)
    assert dataset.SegmentationType == "BINARY"  # Orthanc takes no label maps by C-STORE
    assert str(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID) == scan.provenance.series_uid
    (row,) = spool.database.series()
    (mine,) = spool.results(row.series).rglob("seg.dcm")
    back = read_labels(tmp_path / "seg.dcm", like=scan)
    assert np.array_equal(back.values, read_labels(mine, like=scan).values)


def test_a_late_slice_makes_a_result_that_takes_the_place_of_the_first(hospital, orthanc, put):
    service, spool = hospital()
    for chosen in (slice(0, 11), slice(11, None)):
        put(spool, chosen)
        assert service.segment() == 1
        assert service.send() == 1
    put(spool)  # the whole series once more
    assert (service.segment(), service.send()) == (0, 0)
    first, second = spool.database.deliveries("delivered")
    assert (first.supersedes, second.supersedes) == ("", first.delivery)
    assert len(orthanc.instances("SEG")) == 2
    (row,) = spool.database.series()
    (case,) = [
        path
        for path in spool.results(row.series).rglob("case.json")
        if "superseded" not in path.parent.name
    ]
    told = json.loads(case.read_text())
    assert len(told["source"]["instances"]) == 12
    assert (case.parent.with_name(told["supersedes"]["folder"]) / "seg.dcm").exists()


def test_a_refusal_waits_for_another_slice(hospital, put):
    service, spool = hospital()
    put(spool, slice(0, 2))
    service.segment()
    assert state(spool) == ("refused", "FEW_SLICES")
    assert service.segment() == 0
    put(spool, slice(2, None))
    service.segment()
    assert state(spool)[0] == "done"


@pytest.fixture
def small(settings, spool_of, serving, segmenter):
    """A service that sends nothing, by keyword of its work; and its spool."""

    def made(**work):
        ours = settings(completeness=AT_ONCE, work=Work(device="cpu", **work))
        spool = spool_of(ours)
        return serving(ours, spool, segmenter(ours, spool)), spool

    return made


@pytest.mark.parametrize(
    ("modality", "expected"), [("MR", ("refused", "RULE")), ("CT", ("done", ""))]
)
def test_rules_choose_the_model(small, put, model, tmp_path, modality, expected):
    rules = tmp_path / "rules.toml"
    rules.write_text(f"[[rule]]\nwhere.Modality = '{modality}'\nmodel = '{model}'\n")
    service, spool = small(rules=str(rules))
    put(spool)
    service.segment()
    assert state(spool) == expected


def test_settings_without_a_model(settings, spool_of, log):
    ours = settings(work=Work())
    with pytest.raises(InputError, match="model"):
        Segmenter(ours, spool_of(ours), log, check=lambda: None)


def test_a_model_that_is_not_there_is_told_at_the_start(settings, spool_of, log):
    ours = settings(work=Work(model="no-such-model"))
    with pytest.raises(MedsegError, match="no-such-model"):
        Segmenter(ours, spool_of(ours), log, check=lambda: None)


def test_a_failure_is_tried_again_and_then_given_up(settings, spool_of, serving, put):
    ours = settings(
        completeness=AT_ONCE, retry=Retry(attempts=3, first_s=0.0, most_s=0.0, timeout_s=1)
    )
    spool = spool_of(ours)
    calls = []

    def failing(series):
        calls.append(series)
        raise MedsegError("the worker died", code="WORKER_DIED")

    service = serving(ours, spool, failing)
    put(spool)
    while service.segment():
        assert len(calls) < 9
    assert len(calls) == 3
    assert state(spool) == ("failed", "WORKER_DIED")
    (letter,) = (spool.root / "failed").iterdir()
    assert json.loads(letter.read_text()) == {
        "what": "series",
        "name": calls[0],
        "code": "WORKER_DIED",
        "message": "the worker died",
    }


def test_a_wait_is_kept_over_a_restart(settings, spool_of, serving, put):
    ours = settings(completeness=AT_ONCE, retry=Retry(attempts=3, first_s=50, most_s=99))
    spool = spool_of(ours)

    def failing(series):
        raise MedsegError("no", code="NO")

    put(spool)
    before = time.time()
    assert serving(ours, spool, failing).segment() == 1
    assert serving(ours, spool_of(ours), failing).segment() == 0
    (row,) = spool.database.series()
    assert (row.state, row.attempts) == ("ready", 1)
    assert before + 20 < row.next_at < time.time() + 51


@pytest.fixture
def filled(orthanc, archive, series):
    orthanc.fill(series)
    return archive


def test_a_series_that_stays_incomplete_is_given_up(filled, settings, spool_of, serving, put):
    ours = settings(filled, completeness=Completeness(silence_s=0.0, ask="archive", give_up_s=0.3))
    spool = spool_of(ours)
    service = serving(ours, spool, lambda _: pytest.fail("it is not whole"))
    put(spool, slice(0, 5))
    end = time.monotonic() + 120
    while state(spool)[0] == "receiving" and time.monotonic() < end:
        service.segment()
        time.sleep(0.05)
    assert state(spool) == ("failed", "INCOMPLETE")
    put(spool, slice(5, None))  # the rest, late: it lives again
    assert state(spool) == ("receiving", "")


def test_a_peer_that_cannot_be_asked_is_no_end(settings, spool_of, serving, put, made_up):
    with fake_web(plan=[503] * 99) as fake:
        peer = Peer(name="busy", dicomweb=fake.url)
        ours = settings(peer, completeness=Completeness(silence_s=0.0, ask="busy", give_up_s=0.5))
        spool = spool_of(ours)
        service = serving(ours, spool, made_up(spool))
        put(spool)
        service.segment()
        assert state(spool) == ("receiving", "BUSY")
        time.sleep(0.6)
        assert service.segment() == 1
    assert state(spool)[0] == "done"


def test_silence_is_waited_for(settings, spool_of, serving, put, made_up):
    ours = settings(completeness=Completeness(silence_s=0.5))
    spool = spool_of(ours)
    service = serving(ours, spool, made_up(spool))
    put(spool, slice(0, 6))
    assert service.segment() == 0
    time.sleep(0.3)
    put(spool, slice(6, None))
    time.sleep(0.3)
    assert service.segment() == 0  # the last came 0.3 s ago
    time.sleep(0.3)
    assert service.segment() == 1


def test_a_clock_that_was_set_back_is_no_end(settings, spool_of, serving, put, made_up):
    ours = settings(completeness=Completeness(silence_s=30))
    spool = spool_of(ours)
    put(spool)
    with spool.database.transaction() as connection:
        connection.execute("UPDATE series SET last_at = last_at + 86400")
    assert serving(ours, spool, made_up(spool)).segment() == 1


def test_it_runs_and_stops(settings, spool_of, serving, put, made_up):
    ours = settings(completeness=AT_ONCE)
    spool = spool_of(ours)
    put(spool)
    end = time.monotonic() + 120
    serving(ours, spool, made_up(spool)).run(
        lambda: state(spool)[0] == "done" or time.monotonic() > end
    )
    assert state(spool)[0] == "done"


def test_a_state_that_cannot_be_kept_ends_it_with_a_sentence(settings, spool_of, serving, made_up):
    ours = settings(completeness=AT_ONCE)
    spool = spool_of(ours)
    other = sqlite3.connect(spool.root / "spool.sqlite")
    other.execute("DROP TABLE deliveries")
    other.close()
    with pytest.raises(MedsegError, match="state of the spool"):
        serving(ours, spool, made_up(spool)).run(lambda: False)
