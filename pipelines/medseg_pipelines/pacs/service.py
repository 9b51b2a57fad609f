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
from medseg_pipelines.batch.result_files import FILES
from medseg_pipelines.pacs.client import connect
from medseg_pipelines.pacs.database import Delivery, SeriesRow
from medseg_pipelines.pacs.errors import PeerError, RefusedError
from medseg_pipelines.pacs.segmenting import Segmented
from medseg_pipelines.pacs.settings import PacsSettings
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.transfer import Sender
from medseg_pipelines.pacs.validate import examine

_PAUSE_S = 0.25
_SEG, _SR = FILES["dicom-seg"], FILES["sr"]


class Service:
    """Everything that happens after an object was received; `log` gets no patient text."""

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
        """Work until `stopping` says so."""
        over = threading.Event()  # of the sending, beside which a slow peer delays no segmentation
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
                self._judge(row, may_wait=silent_s < rules.give_up_s)
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

    def _judge(self, row: SeriesRow, *, may_wait: bool) -> None:
        """Let a silent series be ready when it is whole, or wait, or be given up."""
        try:
            expected = self._expected(row)
        except PeerError as error:
            if may_wait:
                self._retry(row, "receiving", error.code, str(error), attempts=None)
                return
            self._log(f"series {row.series[:8]}: nobody could be asked for its count; it goes on")
            expected = None
        if expected is None or row.objects >= expected:
            self._database.set_state(row, "ready")
            return
        missing = f"{row.objects} of {expected} objects came"
        self._retry(row, "receiving", "INCOMPLETE", missing, attempts=None if may_wait else 0)

    def _expected(self, row: SeriesRow) -> int | None:
        """How many objects the peer counts; None when nobody can tell."""
        path = min(self._spool.folder(row.series).glob("*.dcm"), default=None)
        ask = self._settings.completeness.ask
        if not ask or path is None:
            return row.expected
        try:
            received = examine(path)
        except RefusedError:
            return row.expected
        query = {"StudyInstanceUID": received.study_uid, "SeriesInstanceUID": received.series_uid}
        with connect(self._settings.peer(ask), self._settings, self._spool) as client:
            answers = [remote for remote in client.find(query) if remote.name == row.series]
        count = answers[0].objects if answers else None
        self._database.update("series", {"expected": count}, {"series": row.series})
        return count

    def _segment(self, row: SeriesRow) -> None:
        """Segment one series and note what is to be sent."""
        title = f"series {row.series[:8]}"
        self._log(f"{title}: {row.objects} objects, is segmented")
        try:
            scans = self._segmenter(row.series)
        except Cancelled:
            raise
        except MedsegError as error:
            scans = [Segmented(state="failed", code=error.code, message=str(error))]
        queued = sum(self._queue(row.series, scan.folder) for scan in scans if scan.folder)
        failed = [scan for scan in scans if scan.state == "failed"]
        refused = [scan for scan in scans if scan.state == "refused"]
        if failed:
            attempts = self._settings.retry.attempts
            self._retry(row, "ready", failed[0].code, failed[0].message, attempts=attempts)
        else:
            why = refused[0] if refused and len(refused) == len(scans) else Segmented(state="done")
            if self._database.set_state(row, why.state, code=why.code, message=why.message):
                self._log(f"{title}: {why.state}{f' ({why.code})' if why.code else ''}")
        if queued:
            self._log(f"{title}: {queued} results wait to be sent")

    def _queue(self, series: str, folder: Path) -> int:
        """Queue the results of a scan that are to be sent; how many are new."""
        work = self._settings.work
        files = [folder / FILES[kind] for kind in work.send] if work.destination else []
        below = folder.relative_to(self._spool.results(series)).as_posix()
        return sum(
            self._database.add_delivery(
                series,
                below,
                path.name,
                hashlib.sha256(path.read_bytes()).hexdigest(),
                work.destination,
            )
            for path in files
            if path.is_file()
        )

    def _send(self, row: Delivery) -> bool:
        """Send one file, what went wrong is noted; False when its time has not come."""
        path = self._spool.results(row.series) / row.folder / row.file
        seg = path.with_name(_SEG) if row.file == _SR else None
        state_of_seg = self._state_of_seg(row) if seg is not None else ""
        if state_of_seg == "waiting":
            return False
        peer, work = self._settings.peer(row.peer), self._settings.work
        policies = Policies(irregular=work.irregular, missing=work.missing)
        attempts = self._settings.retry.attempts
        try:
            if state_of_seg == "failed":
                raise PeerError("the DICOM SEG that it refers to was given up", code="NO_SEG")
            with connect(peer, self._settings, self._spool, via=work.via) as client:
                sender = Sender(client, self._spool, answers=peer.answers, policies=policies)
                state, sent = sender.deliver(path, seg=seg)
        except MedsegError as error:
            transient = isinstance(error, WriteError) or getattr(error, "transient", False)
            attempts = attempts if transient else 0
            self._retry(row, "waiting", error.code, str(error), attempts=attempts)
        except OSError as error:  # of the disk: a peer's are PeerError
            message = f"the disk does not do what it should: {error.strerror}"
            self._retry(row, "waiting", "DISK", message, attempts=attempts)
        else:
            self._database.set_state(row, state, sent=sent)
            self._log(f"delivery {row.delivery[:8]} to '{row.peer}': {state} {sent}".rstrip())
        return True

    def _state_of_seg(self, report: Delivery) -> str:
        """How the SEG that a report refers to stands; empty when it is not to be sent."""
        key = (report.series, report.folder, report.peer, _SEG)
        rows = self._database.deliveries("waiting", "failed")
        states = [row.state for row in rows if (row.series, row.folder, row.peer, row.file) == key]
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
        outcome = "given up" if given_up else f"attempt {failures} failed"
        self._log(f"{row.kind} {row.name[:8]}: {outcome} ({code})")
        if given_up:
            self._spool.dead_letter(row, code=code, message=message)
