"""The service: series that are whole are segmented, results go to the destination, nothing is lost.

One step at a time, and each step can be taken again: what is to be done is read from the state of
the spool, so a service that was killed goes on where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from medseg.errors import Cancelled, MedsegError, WriteError
from medseg.reading import Policies
from medseg_pipelines.pacs.client import connected
from medseg_pipelines.pacs.completeness import Completeness
from medseg_pipelines.pacs.database import SeriesRow
from medseg_pipelines.pacs.deliveries import Deliveries, Delivery
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.push import Sender
from medseg_pipelines.pacs.retry import wait_s
from medseg_pipelines.pacs.service_log import Log
from medseg_pipelines.pacs.settings import PacsSettings
from medseg_pipelines.pacs.spool import Spool

_PAUSE_S = 0.25
_SEG = "seg.dcm"
_FILES = {"dicom-seg": _SEG, "rtstruct": "labels.rtstruct.dcm", "sr": "measurements.sr.dcm"}


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one scan of a series.

    Parameters
    ----------
    state : {"done", "refused", "failed"}
    folder : Path or None
    code, message : str
        Why there are none.
    """

    state: Literal["done", "refused", "failed"]
    folder: Path | None = None
    code: str = ""
    message: str = ""


class Segmenting(Protocol):
    """What makes results of a series."""

    def __call__(self, series: str) -> Sequence[Ended]:
        """Segment the scans of a series; one entry for each."""
        ...


class Service:
    """Everything that happens after an object was received.

    Parameters
    ----------
    settings : PacsSettings
        What is done with series.
    spool : Spool
    log : Log
    segmenting : Segmenting
    """

    def __init__(
        self, settings: PacsSettings, spool: Spool, log: Log, *, segmenting: Segmenting
    ) -> None:
        self._settings, self._spool, self._log = settings, spool, log
        self._segmenting = segmenting
        self._completeness = Completeness(settings, spool, log)
        self._deliveries = Deliveries(spool.register)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Work until `stopping` says so.

        Results are sent by a thread of their own, so that a slow peer delays no segmentation.
        """
        over = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="medseg-sending") as pool:
            sending = pool.submit(self._send_until, over)
            try:
                while not (sending.done() or stopping()):
                    if not self.segment():
                        time.sleep(_PAUSE_S)
            except Cancelled:  # in the middle of a series: the next start takes it up again
                self._log.say("stopped within a series, which will be begun again")
            finally:
                over.set()
            sending.result()

    def segment(self) -> int:
        """Segment the series that are whole and due; how many there were."""
        self._completeness.judge()
        now = time.time()
        ready = [row for row in self._spool.register.series("ready") if row.next_at <= now]
        for row in ready:
            self._one(row)
        return len(ready)

    def send(self) -> int:
        """Send what is due; how many there were."""
        return sum(map(self._send, self._deliveries.due()))

    def _send_until(self, over: threading.Event) -> None:
        while not over.is_set():
            if not self.send():
                over.wait(_PAUSE_S)

    def _one(self, row: SeriesRow) -> None:
        """Segment one series and note what is to be sent."""
        self._log.say(f"series {row.series[:8]}: {row.objects} objects, is segmented")
        try:
            ended = self._segmenting(row.series)
        except Cancelled:
            raise
        except MedsegError as error:
            ended = [Ended(state="failed", code=error.code, message=str(error))]
        noted = sum(self._note(row.series, one.folder) for one in ended if one.folder is not None)
        failed = [one for one in ended if one.state == "failed"]
        refused = [one for one in ended if one.state == "refused"]
        if failed:
            self._failed(row, failed[0])
        elif refused and len(refused) == len(ended):
            self._settle(row, "refused", refused[0])
        else:
            self._settle(row, "done", Ended(state="done"))
        if noted:
            self._log.say(f"series {row.series[:8]}: {noted} results wait to be sent")

    def _note(self, series: str, folder: Path) -> int:
        """Note the results of a scan that are to be sent; how many are new."""
        work = self._settings.work
        if not work.destination:
            return 0
        root = self._spool.results(series)
        paths = [folder / _FILES[kind] for kind in work.send]
        return sum(
            self._deliveries.add(path, root=root, series=series, peer=work.destination)
            for path in paths
            if path.is_file()
        )

    def _settle(self, row: SeriesRow, state: Literal["done", "refused"], why: Ended) -> None:
        if self._spool.register.settle(row, state, code=why.code, message=why.message):
            told = f" ({why.code})" if why.code else ""
            self._log.say(f"series {row.series[:8]}: {state}{told}")

    def _failed(self, row: SeriesRow, why: Ended) -> None:
        """Try a series again later, or give it up."""
        attempts = row.attempts + 1
        given_up = attempts >= self._settings.retry.attempts
        settled = self._spool.register.settle(
            row,
            "dead" if given_up else "ready",
            code=why.code,
            message=why.message,
            attempts=attempts,
            next_at=time.time() + wait_s(self._settings.retry, attempts),
        )
        if settled and given_up:
            self._spool.dead_letter(row.series, what="series", code=why.code, message=why.message)
            self._log.say(f"series {row.series[:8]}: given up ({why.code})")

    def _send(self, row: Delivery) -> bool:
        """Send one file, what went wrong is noted; False when its time has not come."""
        path = self._spool.results(row.series) / row.folder / row.file
        seg = path.with_name(_SEG) if row.file == _FILES["sr"] else None
        if seg is not None and (state := self._state_of_seg(row)) in ("waiting", "dead"):
            return state == "dead" and self._without_seg(row)
        peer = self._settings.peer(row.peer)
        work = self._settings.work
        policies = Policies(irregular=work.irregular, missing=work.missing)
        try:
            with connected(peer, self._settings, self._spool, via=work.via) as line:
                courier = Sender(line, self._spool, answers=peer.answers, policies=policies)
                state, sent = courier.deliver(path, seg=seg)
        except MedsegError as error:
            self._unsent(row, error, passing=isinstance(error, WriteError) or _passes(error))
            return True
        except OSError as error:  # the disk: what peers do is told by the line
            why = WriteError(f"the disk does not do what it should: {error.strerror}", code="DISK")
            self._unsent(row, why, passing=True)
            return True
        self._deliveries.settle(row, state, sent=sent)
        self._log.say(f"delivery {row.delivery[:8]} to '{row.peer}': {state} {sent}".rstrip())
        return True

    def _state_of_seg(self, row: Delivery) -> str:
        """How the SEG that a report refers to stands; empty when it is not to be sent."""
        place = (row.series, row.folder, row.peer, _SEG)
        states = [
            other.state
            for other in self._deliveries.rows("waiting", "dead")
            if (other.series, other.folder, other.peer, other.file) == place
        ]
        return max(states, default="")  # it waits, if one of them does

    def _without_seg(self, row: Delivery) -> bool:
        """Give up a report whose SEG was given up."""
        why = PeerError("the DICOM SEG that it refers to was given up", code="NO_SEG")
        self._unsent(row, why, passing=False)
        return True

    def _unsent(self, row: Delivery, error: MedsegError, *, passing: bool) -> None:
        """Try later what may pass; the rest, and what failed too often, is a dead letter."""
        attempts = row.attempts + 1
        given_up = not passing or attempts >= self._settings.retry.attempts
        self._deliveries.settle(
            row,
            "dead" if given_up else "waiting",
            code=error.code,
            message=str(error),
            attempts=attempts,
            next_at=time.time() + wait_s(self._settings.retry, attempts),
        )
        what = "given up" if given_up else f"attempt {attempts} failed"
        self._log.say(f"delivery {row.delivery[:8]} to '{row.peer}': {what} ({error.code})")
        if given_up:
            self._spool.dead_letter(
                row.delivery, what="delivery", code=error.code, message=str(error)
            )


def _passes(error: MedsegError) -> bool:
    return isinstance(error, PeerError) and error.passing
