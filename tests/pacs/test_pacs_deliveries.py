"""Results that wait to be sent: tried again, given up, superseded; a report after its SEG."""

from __future__ import annotations

import pytest

from medseg_pipelines.pacs.errors import PeerError
from medseg_pipelines.pacs.settings import Completeness, Peer, Retry, Work

AT_ONCE = Completeness(silence_s=0.0, give_up_s=0.0)


def states(spool):
    return sorted((row.file, row.state) for row in spool.database.deliveries())


@pytest.fixture
def to_send(settings, spool_of, serving, put, made_up, monkeypatch):
    """A service whose one result waits to be sent, by a courier that does as told."""

    def made(outcomes, attempts=3):
        ours = settings(
            Peer(name="archive", dicomweb="http://127.0.0.1:9/dicom-web"),
            completeness=AT_ONCE,
            work=Work(model="m", destination="archive"),
            retry=Retry(attempts=attempts, first_s=0.0, most_s=0.0, timeout_s=1),
        )
        spool = spool_of(ours)
        service = serving(ours, spool, made_up(spool))
        put(spool)
        service.segment()
        left = list(outcomes)

        def deliver(self, path, *, seg=None):
            outcome = left.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr("medseg_pipelines.pacs.service.Sender.deliver", deliver)
        return service, spool

    return made


def passing():
    return PeerError("busy", code="BUSY")


def test_sending_is_tried_until_it_works(to_send):
    service, spool = to_send([passing(), OSError(28, "no space"), ("delivered", "")])
    assert [service.send() for _ in range(4)] == [1, 1, 1, 0]
    assert states(spool) == [("seg.dcm", "delivered")]


def test_sending_ends_with_a_dead_letter(to_send):
    service, spool = to_send([passing()] * 9)
    while service.send():
        pass
    (row,) = spool.database.deliveries()
    assert (row.state, row.code, row.attempts) == ("failed", "BUSY", 3)
    (letter,) = (spool.root / "failed").iterdir()
    assert letter.stem == row.delivery


def test_what_does_not_pass_is_a_dead_letter_at_once(to_send):
    service, spool = to_send([PeerError("no", code="FORBIDDEN")])
    service.send()
    assert states(spool) == [("seg.dcm", "failed")]


def test_a_report_follows_its_segmentation(to_send):
    """It waits while the SEG waits, and is given up with it."""
    service, spool = to_send([passing(), PeerError("no", code="FORBIDDEN")])
    (row,) = spool.database.deliveries()
    place = (row.series, row.folder, "measurements.sr.dcm")
    spool.database.add_delivery(*place, content="a report", peer="archive")
    assert service.send() == 1
    assert states(spool) == [("measurements.sr.dcm", "waiting"), ("seg.dcm", "waiting")]
    while service.send():
        pass
    assert states(spool) == [("measurements.sr.dcm", "failed"), ("seg.dcm", "failed")]
    assert {one.code for one in spool.database.deliveries()} == {"FORBIDDEN", "NO_SEG"}


def test_a_newer_result_takes_the_place_of_one_that_waits(to_send):
    service, spool = to_send([passing(), ("delivered", "")])
    service.send()
    (row,) = spool.database.deliveries()
    place, deliveries = (row.series, row.folder, row.file), spool.database
    assert deliveries.add_delivery(*place, content="a newer one", peer="archive")
    assert not deliveries.add_delivery(*place, content="a newer one", peer="archive")
    assert sorted(one.state for one in deliveries.deliveries()) == ["superseded", "waiting"]
    assert service.send() == 1
    assert service.send() == 0
