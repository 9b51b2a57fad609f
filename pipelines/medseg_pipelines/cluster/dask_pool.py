"""A pool whose workers are those of a Dask cluster.

Dask places tasks and notices workers that are gone; what was done and what is tried again is the
ledger's business. So a task that a lost worker had begun is never begun again by itself: the next
worker that gets it sees the mark of the first, and the case has `WorkerDied`. Tasks that only
waited go on elsewhere and nothing is heard of it.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from distributed import Future, KilledWorker

from medseg import __version__
from medseg.errors import InputError, MedsegError
from medseg_pipelines.batch.messages import Task
from medseg_pipelines.batch.workers.error_codes import result_of
from medseg_pipelines.batch.workers.protocol import Report, Step, WorkerDied, drain
from medseg_pipelines.cluster.backend import LOST, Backend
from medseg_pipelines.cluster.remote_task import (
    Heartbeat,
    Unfit,
    Work,
    begun_mark,
    end_worker,
    lost,
    run_remote,
    unfitness,
)

_log = logging.getLogger(__name__)
_PER_WORKER = 2
_SECONDS_BETWEEN_COUNTS = 2.0
_SECONDS_TO_FETCH = 10.0
_SECONDS_TO_CLOSE = 10.0
_SECONDS_WITHOUT_WORKERS = 600.0


@dataclass
class _InFlight:
    """A task, what Dask calls it, and the worker that has begun it."""

    task: Task
    future: Future
    worker: str = ""
    beat_at: float = 0.0


class DaskPool:
    """Workers of a Dask cluster, one case at a time each; `InputError` when none can be used.

    A case that gets no further for `stall_timeout_s` is given up and its worker ended.
    """

    def __init__(
        self, backend: Backend, *, stall_timeout_s: float = 3600.0, work: Work | None = None
    ) -> None:
        self._backend, self._client, self._work = backend, backend.client, work
        self._stall_timeout_s = stall_timeout_s
        self._topic = f"medseg-{uuid.uuid4().hex}"
        self._in_flight: dict[str, _InFlight] = {}
        self._unfit: dict[str, str] = {}
        self._happened: queue.SimpleQueue[Heartbeat | Future] = queue.SimpleQueue()
        self._workers: tuple[str, ...] = ()
        self._counted = self._last_seen = 0.0
        self._sent = 0
        try:
            self._check_fitness()
            self._client.subscribe_topic(self._topic, self._on_event)
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        """Two tasks for each worker: the next one is there when one ends."""
        return max(1, _PER_WORKER * len(self._fit_workers()))

    def events(self, timeout_s: float) -> Sequence[Report]:
        """What happened since the last call, as `WorkerPool` says."""
        reports = [
            self._take_heartbeat(entry) if isinstance(entry, Heartbeat) else self._take_end(entry)
            for entry in drain(self._happened, timeout_s)
        ]
        happened = [report for report in reports if report is not None] + self._stalled()
        if not happened:
            self._check_workers()
        return happened

    def kill(self, case: str) -> None:
        """Stop working on a case; nothing more is heard of it."""
        entry = self._in_flight.pop(case, None)
        if entry is not None:
            entry.future.cancel()
            self._end_workers([entry.worker])
            _unmark(entry.task)

    def close(self) -> None:
        """End what this run has on the cluster, and what was started for it."""
        entries = list(self._in_flight.values())
        self._in_flight.clear()
        if self._client.status == "running":
            with suppress(*LOST):
                for entry in entries:
                    entry.future.cancel()
                self._end_workers(sorted({entry.worker for entry in entries}))
                self._client.unsubscribe_topic(self._topic)
        for entry in entries:
            _unmark(entry.task)
        self._backend.close(_SECONDS_TO_CLOSE)

    def submit(self, task: Task) -> None:
        """Hand a task to Dask; unfit workers do not get it."""
        self._sent += 1
        future = self._client.submit(
            run_remote,
            __version__,
            self._topic,
            msgspec.json.encode(task),
            self._work,
            key=f"medseg-{task.token}-{self._sent}",
            pure=False,
            retries=0,
            workers=list(self._fit_workers()) if self._unfit else None,
        )
        self._in_flight[task.case] = _InFlight(task, future)
        future.add_done_callback(self._happened.put)

    def _on_event(self, event: tuple[float, str]) -> None:
        """Take what a worker sends, in the client's own thread."""
        self._happened.put(msgspec.json.decode(event[1], type=Heartbeat))

    def _take_heartbeat(self, beat: Heartbeat) -> Report | None:
        """What a heartbeat means to the run, if anything."""
        entry = self._in_flight.get(beat.case)
        if entry is None or entry.task.token != beat.token:
            return None
        entry.worker, entry.beat_at = beat.worker, time.monotonic()
        if isinstance(beat.report, Unfit):
            return self._do_elsewhere(entry, beat.worker, beat.report.why)
        if not isinstance(beat.report, Step):
            self._end(entry)
        return beat.report

    def _stalled(self) -> list[Report]:
        """Cases that got no further for too long, given up."""
        limit = time.monotonic() - self._stall_timeout_s
        entries = self._in_flight.items()
        stalled = [case for case, entry in entries if entry.worker and entry.beat_at < limit]
        for case in stalled:
            self.kill(case)
        message = f"it got no further for {self._stall_timeout_s:.0f} s; its worker was ended"
        return [WorkerDied(cases=(case,), code="TOO_SLOW", message=message) for case in stalled]

    def _take_end(self, future: Future) -> Report | None:
        """What became of a task that Dask holds for ended, where no worker sent an answer."""
        entry = next((entry for entry in self._in_flight.values() if entry.future is future), None)
        if entry is None:
            return None
        if future.status == "finished":
            return self._take_return(entry)
        if future.status != "error":
            raise self._scheduler_lost()
        error = future.exception(timeout=_SECONDS_TO_FETCH)
        if not isinstance(error, KilledWorker):
            raise MedsegError(
                f"workers of {self._backend.name} cannot work ({type(error).__name__}): is medseg"
                f" {__version__} with the extra medseg[cluster] installed there?",
                code="CLUSTER",
            )
        self._end(entry)
        return lost(entry.task)

    def _take_return(self, entry: _InFlight) -> Report | None:
        """What a worker returned that sent no answer: mostly that it is not fit to."""
        try:
            worker, unfit = entry.future.result(timeout=_SECONDS_TO_FETCH)
        except TimeoutError:  # it is gone with what it returned; Dask asks another
            entry.future.add_done_callback(self._happened.put)
            return None
        if unfit:
            return self._do_elsewhere(entry, worker, unfit)
        self._end(entry)
        return lost(entry.task)

    def _do_elsewhere(self, entry: _InFlight, worker: str, unfit: str) -> Report | None:
        """Let another worker do what one cannot do, unless the scan is gone for all."""
        if not Path(entry.task.scan.path).exists():
            self._end(entry)
            return result_of(InputError("it is gone"), entry.task, "read")
        self._refuse(worker, unfit)
        self._check_any_fit()
        self.submit(entry.task)
        return None

    def _end(self, entry: _InFlight) -> None:
        del self._in_flight[entry.task.case]
        _unmark(entry.task)

    def _check_fitness(self) -> None:
        """Refuse unfit workers before anything is begun."""
        answers: dict[str, Any] = self._client.run(
            unfitness, __version__, 1, on_error="return", wait=True
        )
        threads = self._client.nthreads()
        for worker, answer in answers.items():
            unfit = unfitness(__version__, threads.get(worker, 1)) if answer == "" else answer
            if isinstance(unfit, BaseException):
                unfit = f"medseg cannot be imported there ({type(unfit).__name__})"
            if unfit:
                self._refuse(worker, unfit)
        if self._unfit:
            self._check_any_fit()

    def _refuse(self, worker: str, why: str) -> None:
        if worker not in self._unfit:
            self._unfit[worker] = why
            _log.warning("worker %s is not used: %s", worker, why)

    def _check_any_fit(self) -> None:
        """Raise when no worker can be used."""
        if not self._fit_workers(fresh=True):
            worker, why = next(reversed(self._unfit.items()))
            raise InputError(
                f"no worker of {self._backend.name} can be used; of {worker}: {why}",
                code="CLUSTER",
            )

    def _fit_workers(self, *, fresh: bool = False) -> tuple[str, ...]:
        """Addresses of the workers that can be used, as of a moment ago."""
        now = time.monotonic()
        if fresh or now - self._counted > _SECONDS_BETWEEN_COUNTS:
            try:
                self._workers = tuple(self._client.nthreads())
            except LOST as error:
                raise self._scheduler_lost() from error
            self._counted = now
        return tuple(worker for worker in self._workers if worker not in self._unfit)

    def _check_workers(self) -> None:
        """Raise when there is nobody left to wait for."""
        if self._client.status not in {"running", "newly-created"}:
            raise self._scheduler_lost()
        now = time.monotonic()
        if self._fit_workers() or not self._in_flight:
            self._last_seen = now
        if self._last_seen and now - self._last_seen > _SECONDS_WITHOUT_WORKERS:
            raise MedsegError(
                f"{self._backend.name} had no worker for {_SECONDS_WITHOUT_WORKERS:.0f} s; start"
                " workers and run the same command again to continue",
                code="NO_WORKERS",
            )

    def _scheduler_lost(self) -> MedsegError:
        return MedsegError(
            f"the scheduler of {self._backend.name} is gone; finished cases are kept: start it"
            " again, and run the same command to continue",
            code="SCHEDULER_LOST",
        )

    def _end_workers(self, workers: list[str]) -> None:
        """End processes that have work in flight; where no nanny watches them they go on."""
        with suppress(*LOST, LookupError):  # a worker may be gone meanwhile
            there = [worker for worker in workers if worker in self._client.nthreads()]
            if there:
                self._client.run(end_worker, workers=there, nanny=True, on_error="ignore")


def _unmark(task: Task) -> None:
    """Take the mark of a task away."""
    with suppress(OSError):
        begun_mark(task).unlink(missing_ok=True)
