"""Worker processes on this machine."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from medseg import errors
from medseg.errors import MedsegError
from medseg_pipelines.batch.messages import Task
from medseg_pipelines.batch.workers.error_codes import OUT_OF_MEMORY
from medseg_pipelines.batch.workers.framing import Ended, Unfit
from medseg_pipelines.batch.workers.protocol import Report, Step, WorkerDied
from medseg_pipelines.batch.workers.worker_handle import WorkerLink, WorkerMessage, oom_victims
from medseg_pipelines.batch.workers.worker_process import Orders

_IN_HAND = 4  # one is written, one segmented, two are read ahead
_MOST_STARTS = 3
_BEATS = 6  # in the time after which a worker counts as hung
HUNG, TOO_SLOW, WORKER_DIED = "HUNG", "TOO_SLOW", "WORKER_DIED"
_WORDS = {
    HUNG: "the worker gave no sign of life and was ended",
    TOO_SLOW: "it got no further for too long and its worker was ended; look at the scan, or give"
    " more time",
    OUT_OF_MEMORY: "the system ended the worker because memory was short; give it more, or use"
    " fewer workers",
}


class LocalCrew:
    """Worker processes on this machine, each with the model loaded and several cases in hand.

    On Linux they end with the thread that started them, so one that lasts has to use the crew.

    Parameters
    ----------
    workers : int
        How many; each is started when there is work for it.
    lease_s : float
        One that gives no sign of life for so long is ended.
    patience_s : float
        So is one in which no case gets further for so long.
    memory_gb : float, optional
    scratch : Path, optional
        Folder for their temporary files, to be made.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        lease_s: float = 60.0,
        patience_s: float = 3600.0,
        memory_gb: float | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._most, self._lease_s, self._patience_s = workers, lease_s, patience_s
        self._memory_gb, self._scratch = memory_gb, scratch
        self._links: list[WorkerLink] = []
        self._waiting: deque[Task] = deque()
        self._heard: queue.SimpleQueue[WorkerMessage] = queue.SimpleQueue()
        self._started = self._starts_in_vain = 0
        self._looked = time.monotonic()

    @property
    def capacity(self) -> int:
        """How many tasks it takes in hand at once."""
        return self._most * _IN_HAND

    @property
    def processes(self) -> tuple[int, ...]:
        """Numbers of the worker processes that were started and have not ended."""
        return tuple(link.process.pid for link in self._links)

    def submit(self, task: Task) -> None:
        """Take a task in hand."""
        self._waiting.append(task)
        self._hand_out()

    def events(self, timeout_s: float) -> Sequence[Report]:
        """What happened since the last call.

        Parameters
        ----------
        timeout_s : float
            How long to wait for something to happen.

        Raises
        ------
        MedsegError
            When the model or the device cannot be used, or workers end before they begin.
        """
        reports = []
        for heard in self._all_heard(timeout_s):
            report = self._report(heard)
            if report is not None:
                reports.append(report)
        self._end_the_hung()
        self._hand_out()
        return reports

    def kill(self, case: str) -> None:
        """Stop working on a case; what its worker had in hand besides begins anew."""
        self._waiting = deque(task for task in self._waiting if task.case != case)
        for link in self._links:
            if link.hands.pop(case, None) is not None:
                self._abandon(link)
                return

    def close(self) -> None:
        """End all workers at once."""
        links, self._links = self._links, []
        self._waiting.clear()
        for link in links:
            link.kill()
        for link in links:
            link.reap()

    def _all_heard(self, timeout_s: float) -> Iterator[WorkerMessage]:
        """Everything that was said; waits for the first of it."""
        try:
            yield self._heard.get(timeout=timeout_s)
            while True:
                yield self._heard.get_nowait()
        except queue.Empty:
            return

    def _report(self, heard: WorkerMessage) -> Report | None:
        """What something that was said means to the run."""
        link, said = heard.link, heard.said
        if link not in self._links:
            return None
        if said is None:
            return self._death(link)
        if isinstance(said, Unfit):
            raise _error(said)
        link.note(said if isinstance(said, Step) else None)
        if isinstance(said, Ended):
            self._starts_in_vain = 0
            return said.result if link.hands.pop(said.result.case, None) else None
        return said if isinstance(said, Step) else None

    def _death(self, link: WorkerLink) -> WorkerDied | None:
        """A worker has ended; what it had not begun goes to another."""
        self._links.remove(link)
        exit_code = link.reap()
        begun = [hand.task.case for hand in link.hands.values() if hand.begun]
        untouched = [hand.task for hand in link.hands.values() if not hand.begun]
        self._waiting.extendleft(reversed(untouched))
        if begun:
            self._starts_in_vain = 0
            code, message = _cause(link, exit_code)
            return WorkerDied(cases=tuple(begun), code=code, message=message)
        self._starts_in_vain += 1
        if self._starts_in_vain >= _MOST_STARTS:
            raise MedsegError(
                f"{_MOST_STARTS} workers, one after the other, ended before they began a case"
                f" ({_cause(link, exit_code)[0]}); look at memory and at the installation",
                code="WORKERS_DO_NOT_START",
            )
        return None

    def _abandon(self, link: WorkerLink) -> None:
        """End a worker for no fault of the cases it has in hand."""
        self._links.remove(link)
        link.kill()
        link.reap()
        self._waiting.extendleft(reversed([hand.task for hand in link.hands.values()]))
        self._hand_out()

    def _end_the_hung(self) -> None:
        """End workers that give no sign of life; after a sleep of ours they get their time anew."""
        now = time.monotonic()
        slept, self._looked = now - self._looked > self._lease_s / 2, now
        for link in self._links:
            if slept:
                link.note(None)
            if link.is_silent(self._lease_s):
                link.kill(HUNG)
            elif link.stuck(self._patience_s):
                link.kill(TOO_SLOW)

    def _hand_out(self) -> None:
        """Give tasks to workers in the order in which they came."""
        while self._waiting:
            link = self._free_for(self._waiting[0])
            if link is None:
                return
            link.give(self._waiting.popleft())

    def _free_for(self, task: Task) -> WorkerLink | None:
        """The worker to give a task to: a new one while there may be more, else the least busy."""
        free = [
            link
            for link in self._links
            if not link.has_dangerous_case and len(link.hands) < (1 if task.alone else _IN_HAND)
        ]
        idle = [link for link in free if not link.hands]
        if idle:
            return idle[0]
        if len(self._links) < self._most:
            return self._start()
        return min(free, key=lambda link: len(link.hands), default=None)

    def _start(self) -> WorkerLink:
        numbers = {link.number for link in self._links}
        number = next(one for one in range(self._most) if one not in numbers)
        orders = Orders(
            parent=os.getpid(),
            number=number,
            beat_s=self._lease_s / _BEATS,
            memory_gb=self._memory_gb,
        )
        self._started += 1
        scratch = self._scratch and self._scratch / f"worker-{self._started}"
        threads = None if self._most == 1 else max(1, _cores() // self._most)
        link = WorkerLink(orders, self._heard, scratch=scratch, threads=threads)
        self._links.append(link)
        return link


def _cause(link: WorkerLink, exit_code: int) -> tuple[str, str]:
    """Code and sentence for the end of a worker."""
    code = link.killed_as
    if not code and exit_code == -signal.SIGKILL and oom_victims() > link.victims:
        code = OUT_OF_MEMORY
    if code:
        return code, _WORDS[code]
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"KILLED_BY_SIGNAL_{-exit_code}", f"its worker was ended by {name}"
    return WORKER_DIED, f"its worker ended with exit code {exit_code}"


def _error(unfit: Unfit) -> MedsegError:
    """The error that a worker ended with."""
    kind = getattr(errors, unfit.kind, MedsegError)
    error: MedsegError = kind(unfit.message, code=unfit.code)
    return error


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1
