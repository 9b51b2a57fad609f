"""Worker processes on this machine."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from medseg import errors
from medseg.errors import MedsegError
from medseg.runtime.processor import core_count
from medseg_pipelines.batch.messages import Result, Task
from medseg_pipelines.batch.workers.error_codes import OUT_OF_MEMORY
from medseg_pipelines.batch.workers.protocol import Report, Step, WorkerDied, drain
from medseg_pipelines.batch.workers.worker_handle import WorkerHandle, oom_kills
from medseg_pipelines.batch.workers.worker_process import Message, Unusable, WorkerOptions

_PER_WORKER = 4  # one is written, one segmented, two are read ahead
_MOST_STARTS = 3
_HEARTBEATS = 6  # in the time after which a worker counts as hung
HUNG, TOO_SLOW, WORKER_DIED = "HUNG", "TOO_SLOW", "WORKER_DIED"
_SENTENCES = {
    HUNG: "the worker gave no sign of life and was ended",
    TOO_SLOW: "it got no further for too long and its worker was ended; look at the scan, or give"
    " more time",
    OUT_OF_MEMORY: "the system ended the worker because memory was short; give it more, or use"
    " fewer workers",
}


class LocalPool:
    """Worker processes on this machine, each with the model loaded and several cases in flight.

    Each is started when there is work for it, and ended when it gives no sign of life, or none of
    its cases gets further, for so many seconds. On Linux they end with the thread that started
    them, so one that lasts has to use the pool. `scratch` is made for their temporary files.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        heartbeat_timeout_s: float = 60.0,
        stall_timeout_s: float = 3600.0,
        memory_gb: float | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._most = workers
        self._heartbeat_timeout_s, self._stall_timeout_s = heartbeat_timeout_s, stall_timeout_s
        self._memory_gb, self._scratch = memory_gb, scratch
        self._workers: list[WorkerHandle] = []
        self._waiting: deque[Task] = deque()
        self._messages: queue.SimpleQueue[tuple[WorkerHandle, Message | None]] = queue.SimpleQueue()
        self._started = self._starts_in_vain = 0
        self._looked = time.monotonic()

    @property
    def capacity(self) -> int:
        """How many tasks it takes at once."""
        return self._most * _PER_WORKER

    @property
    def is_busy(self) -> bool:
        """Whether a task waits or is in flight."""
        return bool(self._waiting) or any(worker.in_flight for worker in self._workers)

    @property
    def processes(self) -> tuple[int, ...]:
        """Numbers of the worker processes that were started and have not ended."""
        return tuple(worker.process.pid for worker in self._workers)

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._waiting.append(task)
        self._hand_out()

    def events(self, timeout_s: float) -> Sequence[Report]:
        """What happened since the last call, as `WorkerPool` says."""
        reports = [self._report(*received) for received in drain(self._messages, timeout_s)]
        self._end_the_hung()
        self._hand_out()
        return [report for report in reports if report is not None]

    def close(self) -> None:
        """End all workers at once."""
        workers, self._workers = self._workers, []
        self._waiting.clear()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.reap()

    def _report(self, worker: WorkerHandle, message: Message | None) -> Report | None:
        """What a message means to the run."""
        if worker not in self._workers:
            return None
        if message is None:
            return self._death(worker)
        if isinstance(message, Unusable):
            kind = getattr(errors, message.kind, MedsegError)
            raise kind(message.message, code=message.code)
        worker.note(message if isinstance(message, Step) else None)
        if isinstance(message, Result):
            self._starts_in_vain = 0
            return message if worker.in_flight.pop(message.case, None) else None
        return message if isinstance(message, Step) else None

    def _death(self, worker: WorkerHandle) -> WorkerDied | None:
        """A worker has ended; what it had not begun goes to another."""
        self._workers.remove(worker)
        code, message = _cause(worker, worker.reap())
        begun = [case for case, in_flight in worker.in_flight.items() if in_flight.begun]
        untouched = [entry.task for entry in worker.in_flight.values() if not entry.begun]
        self._waiting.extendleft(reversed(untouched))
        if begun:
            self._starts_in_vain = 0
            return WorkerDied(cases=tuple(begun), code=code, message=message)
        self._starts_in_vain += 1
        if self._starts_in_vain >= _MOST_STARTS:
            raise MedsegError(
                f"{_MOST_STARTS} workers, one after the other, ended before they began a case"
                f" ({code}); look at memory and at the installation",
                code="WORKERS_DO_NOT_START",
            )
        return None

    def _end_the_hung(self) -> None:
        """End workers that give no sign of life; after a sleep of ours they get their time anew."""
        now = time.monotonic()
        slept, self._looked = now - self._looked > self._heartbeat_timeout_s / 2, now
        for worker in self._workers:
            if slept:
                worker.note()
            if worker.is_silent(self._heartbeat_timeout_s):
                worker.kill(HUNG)
            elif worker.is_stalled(self._stall_timeout_s):
                worker.kill(TOO_SLOW)

    def _hand_out(self) -> None:
        """Give tasks to workers in the order in which they came."""
        while self._waiting:
            worker = self._free_for(self._waiting[0])
            if worker is None:
                return
            worker.give(self._waiting.popleft())

    def _free_for(self, task: Task) -> WorkerHandle | None:
        """The worker to give a task to: a new one while there may be more, else the least busy."""
        free = [worker for worker in self._workers if worker.has_room(task, _PER_WORKER)]
        least_busy = min(free, key=lambda worker: len(worker.in_flight), default=None)
        is_idle = least_busy is not None and not least_busy.in_flight
        return least_busy if is_idle or len(self._workers) >= self._most else self._start()

    def _start(self) -> WorkerHandle:
        numbers = {worker.number for worker in self._workers}
        options = WorkerOptions(
            parent=os.getpid(),
            number=next(number for number in range(self._most) if number not in numbers),
            heartbeat_s=self._heartbeat_timeout_s / _HEARTBEATS,
            memory_gb=self._memory_gb,
        )
        self._started += 1
        scratch = self._scratch and self._scratch / f"worker-{self._started}"
        threads = None if self._most == 1 else max(1, core_count() // self._most)
        worker = WorkerHandle(options, self._messages, scratch=scratch, threads=threads)
        self._workers.append(worker)
        return worker


def _cause(worker: WorkerHandle, exit_code: int) -> tuple[str, str]:
    """Code and sentence for the end of a worker."""
    code = worker.killed_as
    if not code and exit_code == -signal.SIGKILL and oom_kills() > worker.oom_kills_before:
        code = OUT_OF_MEMORY
    if code:
        return code, _SENTENCES[code]
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"KILLED_BY_SIGNAL_{-exit_code}", f"its worker was ended by {name}"
    return WORKER_DIED, f"its worker ended with exit code {exit_code}"
