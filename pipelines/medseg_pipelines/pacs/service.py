"""The service: series that are whole are segmented, results go to the destination, nothing is lost.

One step at a time, and each step can be taken again: what is to be done is read from the state of
the spool, so a service that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from medseg.errors import Cancelled, MedsegError, WriteError
from medseg.reading import Policies
from medseg_pipelines.pacs.client import connect
from medseg_pipelines.pacs.database import Delivery, SeriesRow
from medseg_pipelines.pacs.errors import PeerError, RefusedError
from medseg_pipelines.pacs.segmenting import Segmented
from medseg_pipelines.pacs.settings import PacsSettings
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.transfer import Sender
from medseg_pipelines.pacs.validate import examine

_PAUSE_S = 0.25
_SEG = "seg.dcm"
_FILES = {"dicom-seg": _SEG, "rtstruct": "labels.rtstruct.dcm", "sr": "measurements.sr.dcm"}


class Service:
    """Everything that happens after an object was received.

    `log` is told one line for each event, without patient text; `segmenter` segments the scans of
    a series and gives one entry for each.
    """

    def __init__(
        self,
        settings: PacsSettings,
        spool: Spool,
        log: Callable[[str], None],
        *,
        segmenter: Callable[[str], Sequence[Segmented]],
    ) -> None:
        self._settings, self._spool, self._log = settings, spool, log
        self._database, self._segmenter = spool.database, segmenter

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
                self._log("stopped within a series, which will be begun again")
            finally:
                over.set()
            sending.result()

    def segment(self) -> int:
        """Segment the series that are whole and due; how many there were."""
        rules, now = self._settings.completeness, time.time()
        for row in self._database.series("receiving"):
            # a clock that was set back must not make a series wait for ever
            silent_s = now - row.last_at if row.last_at <= now else rules.silence_s
            if silent_s >= rules.silence_s and row.next_at <= now:
                self._judge(row, patient=silent_s < rules.patience_s)
        due = [row for row in self._database.series("ready") if row.next_at <= now]
        for row in due:
            self._segment(row)
        return len(due)

    def send(self) -> int:
        """Send what is due, a SEG before what refers to it; how many there were."""
        now = time.time()
        due = [row for row in self._database.deliveries("waiting") if row.next_at <= now]
        due.sort(key=lambda row: (row.series, row.folder, row.file != _SEG))
        return sum(map(self._send, due))

    def _send_until(self, over: threading.Event) -> None:
        while not over.is_set():
            if not self.send():
                over.wait(_PAUSE_S)

    def _judge(self, row: SeriesRow, *, patient: bool) -> None:
        """Let a silent series be ready when it is whole, or wait, or be given up."""
        try:
            expected = self._expected(row)
        except PeerError as error:
            if patient:
                self._retry(row, "receiving", error.code, str(error), attempts=None)
                return
            self._log(f"series {row.series[:8]}: nobody could be asked for its count; it goes on")
            expected = None
        if expected is None or row.objects >= expected:
            self._database.set_state(row, "ready")
            return
        missing = f"{row.objects} of {expected} objects came"
        self._retry(row, "receiving", "INCOMPLETE", missing, attempts=None if patient else 0)

    def _expected(self, row: SeriesRow) -> int | None:
        """How many objects the peer counts; None when nobody can tell."""
        path = next(iter(sorted(self._spool.folder(row.series).glob("*.dcm"))), None)
        ask = self._settings.completeness.ask
        if not ask or path is None:
            return row.expected
        try:
            received = examine(path)
        except RefusedError:
            return row.expected
        query = {"StudyInstanceUID": received.study_uid, "SeriesInstanceUID": received.series_uid}
        with connect(self._settings.peer(ask), self._settings, self._spool) as client:
            counts = [one.objects for one in client.find(query) if one.name == row.series]
        count = counts[0] if counts else None
        self._database.update("series", {"expected": count}, {"series": row.series})
        return count

    def _segment(self, row: SeriesRow) -> None:
        """Segment one series and note what is to be sent."""
        self._log(f"series {row.series[:8]}: {row.objects} objects, is segmented")
        try:
            scans = self._segmenter(row.series)
        except Cancelled:
            raise
        except MedsegError as error:
            scans = [Segmented(state="failed", code=error.code, message=str(error))]
        noted = sum(self._note(row.series, one.folder) for one in scans if one.folder is not None)
        failed = [one for one in scans if one.state == "failed"]
        refused = [one for one in scans if one.state == "refused"]
        if failed:
            most = self._settings.retry.attempts
            self._retry(row, "ready", failed[0].code, failed[0].message, attempts=most)
        else:
            why = refused[0] if refused and len(refused) == len(scans) else Segmented(state="done")
            if self._database.set_state(row, why.state, code=why.code, message=why.message):
                reason = f" ({why.code})" if why.code else ""
                self._log(f"series {row.series[:8]}: {why.state}{reason}")
        if noted:
            self._log(f"series {row.series[:8]}: {noted} results wait to be sent")

    def _note(self, series: str, folder: Path) -> int:
        """Note the results of a scan that are to be sent; how many are new."""
        work = self._settings.work
        if not work.destination:
            return 0
        place = folder.relative_to(self._spool.results(series)).as_posix()
        noted = 0
        for path in (folder / _FILES[kind] for kind in work.send):
            if path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                noted += self._database.add_delivery(
                    series, place, path.name, content, work.destination
                )
        return noted

    def _send(self, row: Delivery) -> bool:
        """Send one file, what went wrong is noted; False when its time has not come."""
        path = self._spool.results(row.series) / row.folder / row.file
        seg = path.with_name(_SEG) if row.file == _FILES["sr"] else None
        state_of_seg = self._state_of_seg(row) if seg is not None else ""
        if state_of_seg == "waiting":
            return False
        peer, work = self._settings.peer(row.peer), self._settings.work
        policies = Policies(irregular=work.irregular, missing=work.missing)
        most = self._settings.retry.attempts
        try:
            if state_of_seg == "failed":
                raise PeerError("the DICOM SEG that it refers to was given up", code="NO_SEG")
            with connect(peer, self._settings, self._spool, via=work.via) as client:
                sender = Sender(client, self._spool, answers=peer.answers, policies=policies)
                state, sent = sender.deliver(path, seg=seg)
        except MedsegError as error:
            transient = isinstance(error, WriteError) or getattr(error, "transient", False)
            attempts = most if transient else 0
            self._retry(row, "waiting", error.code, str(error), attempts=attempts)
        except OSError as error:  # of the disk: a peer's are PeerError
            message = f"the disk does not do what it should: {error.strerror}"
            self._retry(row, "waiting", "DISK", message, attempts=most)
        else:
            self._database.set_state(row, state, sent=sent)
            self._log(f"delivery {row.delivery[:8]} to '{row.peer}': {state} {sent}".rstrip())
        return True

    def _state_of_seg(self, report: Delivery) -> str:
        """How the SEG that a report refers to stands; empty when it is not to be sent."""
        place = (report.series, report.folder, report.peer, _SEG)
        states = [
            row.state
            for row in self._database.deliveries("waiting", "failed")
            if (row.series, row.folder, row.peer, row.file) == place
        ]
        return max(states, default="")  # it waits, if one of them does

    def _retry(
        self,
        row: SeriesRow | Delivery,
        state: Literal["receiving", "ready", "waiting"],
        code: str,
        message: str,
        *,
        attempts: int | None,
    ) -> None:
        """Try something again later; it is a dead letter after so many `attempts`."""
        failures = row.attempts + 1
        given_up = attempts is not None and failures >= attempts
        changed = self._database.set_state(
            row,
            "failed" if given_up else state,
            code=code,
            message=message,
            attempts=failures,
            next_at=time.time() + self._settings.retry.wait_s(failures),
        )
        if not changed or (state == "receiving" and not given_up):
            return
        what = "series" if isinstance(row, SeriesRow) else "delivery"
        outcome = "given up" if given_up else f"attempt {failures} failed"
        self._log(f"{what} {row.name[:8]}: {outcome} ({code})")
        if given_up:
            self._spool.dead_letter(row, code=code, message=message)
