"""A crew whose workers are those of a Dask cluster.

Dask places orders and notices workers that are gone; what was done and what is tried again is the
ledger's business. So an order that a lost worker had begun is never begun again by itself: the
next worker that gets it sees the mark of the first, and the case has `WorkerDied`. Orders that only
waited go on elsewhere and nothing is heard of it.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from distributed import Future, KilledWorker

from medseg import __version__
from medseg.errors import InputError, MedsegError
from medseg_pipelines.batch.messages import Task
from medseg_pipelines.batch.workers.protocol import Report, WorkerDied
from medseg_pipelines.cluster.backend import LOST, Workplace
from medseg_pipelines.cluster.remote_task import (
    Answer,
    Heartbeat,
    Order,
    Work,
    begun_mark,
    carry_out,
    end_worker,
    unfitness,
)

_log = logging.getLogger(__name__)
_IN_HAND_PER_WORKER = 2
_SECONDS_BETWEEN_COUNTS = 2.0
_SECONDS_TO_FETCH = 10.0
_SECONDS_TO_CLOSE = 10.0
_SECONDS_WITHOUT_WORKERS = 600.0


@dataclass(frozen=True)
class _Hand:
    """A task in hand, and what Dask calls it."""

    task: Task
    future: Future


@dataclass(frozen=True)
class _Begun:
    """The worker that has begun a case, and when it was heard of last."""

    worker: str
    heard: float


class DaskCrew:
    """Workers of a Dask cluster, one case at a time each.

    Parameters
    ----------
    place : Workplace
    patience_s : float
        A case that gets no further for this long is given up and its worker ended.
    work : callable, optional
        A function of a module, in place of the work on a case.

    Raises
    ------
    InputError
        When workers are there and none can be used.
    """

    def __init__(
        self, place: Workplace, *, patience_s: float = 3600.0, work: Work | None = None
    ) -> None:
        self._place, self._client, self._work = place, place.client, work
        self._patience_s = patience_s
        self._topic = f"medseg-{uuid.uuid4().hex}"
        self._hands: dict[str, _Hand] = {}
        self._at: dict[str, _Begun] = {}
        self._unfit: dict[str, str] = {}
        self._happened: queue.SimpleQueue[Heartbeat | Future] = queue.SimpleQueue()
        self._workers: tuple[str, ...] = ()
        self._counted = self._last_seen = 0.0
        self._orders = 0
        try:
            self._look_at_workers()
            self._client.subscribe_topic(self._topic, self._hear)
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        """Two orders for each worker: the next one is there when one ends."""
        return max(1, _IN_HAND_PER_WORKER * len(self._fit_workers()))

    def submit(self, task: Task) -> None:
        """Give a task to the cluster; the form is that of `Crew`."""
        self._send(task)

    def events(self, timeout_s: float) -> Sequence[Report]:
        """What happened since the last call; the form is that of `Crew`."""
        taken = [
            self._take_told(one) if isinstance(one, Heartbeat) else self._take_end(one)
            for one in self._heard(timeout_s)
        ]
        reports = [one for one in taken if one is not None]
        reports += self._too_slow()
        if not reports:
            self._check_workers()
        return reports

    def kill(self, case: str) -> None:
        """Stop working on a case; the form is that of `Crew`."""
        hand = self._hands.pop(case, None)
        begun = self._at.pop(case, None)
        if hand is None:
            return
        hand.future.cancel()
        if begun is not None:
            self._end_workers([begun.worker])
        self._forget(hand.task)

    def close(self) -> None:
        """End what this run has on the cluster, and what was started for it."""
        if self._client.status == "running":
            self._end_orders()
        for hand in self._hands.values():
            self._forget(hand.task)
        self._hands.clear()
        self._place.close(_SECONDS_TO_CLOSE)

    def _end_orders(self) -> None:
        """Stop all that is in hand."""
        with suppress(*LOST):
            for hand in self._hands.values():
                hand.future.cancel()
            self._end_workers(sorted({one.worker for one in self._at.values()}))
            self._client.unsubscribe_topic(self._topic)

    def _send(self, task: Task, *, trusting: bool = False) -> None:
        """Hand a task to Dask; unfit workers do not get it."""
        self._orders += 1
        order = Order(task=task, topic=self._topic, trusting=trusting)
        future = self._client.submit(
            carry_out,
            __version__,
            msgspec.json.encode(order),
            self._work,
            key=f"medseg-{task.token}-{self._orders}",
            pure=False,
            retries=0,
            workers=list(self._fit_workers()) if self._unfit else None,
        )
        self._hands[task.case] = _Hand(task, future)
        future.add_done_callback(self._happened.put)

    def _hear(self, event: tuple[float, str]) -> None:
        """Take what a worker tells, in the client's own thread."""
        self._happened.put(msgspec.json.decode(event[1], type=Heartbeat))

    def _heard(self, timeout_s: float) -> Iterator[Heartbeat | Future]:
        """What is in the queue; waits for the first."""
        with suppress(queue.Empty):
            yield self._happened.get(timeout=max(timeout_s, 0.0))
            while True:
                yield self._happened.get_nowait()

    def _take_told(self, told: Heartbeat) -> Report | None:
        """What a worker said of a case in hand, if it is for the run to know."""
        hand = self._hands.get(told.case)
        if hand is None or hand.task.token != told.token:
            return None
        self._at[told.case] = _Begun(told.worker, time.monotonic())
        if told.answer is None:
            return told.step
        if told.answer.unfit:
            self._do_elsewhere(hand, told.worker, told.answer)
            return None
        self._end(hand)
        return told.answer.result or _lost(hand.task)

    def _too_slow(self) -> list[Report]:
        """Cases that got no further for too long, given up."""
        limit = time.monotonic() - self._patience_s
        slow = [case for case, begun in self._at.items() if begun.heard < limit]
        for case in slow:
            self.kill(case)
        message = f"it got no further for {self._patience_s:.0f} s; its worker was ended"
        return [WorkerDied(cases=(case,), code="TOO_SLOW", message=message) for case in slow]

    def _take_end(self, future: Future) -> Report | None:
        """What became of an order that Dask holds for ended, where no worker told it."""
        hand = next((one for one in self._hands.values() if one.future is future), None)
        if hand is None:
            return None
        if future.status == "finished":
            return self._take_return(hand)
        if future.status != "error":
            raise self._scheduler_lost()
        self._check_died(future)
        self._end(hand)
        return _lost(hand.task)

    def _take_return(self, hand: _Hand) -> Report | None:
        """What a worker returned that told nothing: mostly that it is not fit to."""
        try:
            worker, unfit = hand.future.result(timeout=_SECONDS_TO_FETCH)
        except TimeoutError:  # it is gone with what it returned; Dask asks another
            hand.future.add_done_callback(self._happened.put)
            return None
        if unfit:
            self._do_elsewhere(hand, worker, Answer(unfit=unfit))
            return None
        self._end(hand)
        return _lost(hand.task)

    def _check_died(self, future: Future) -> None:
        """Raise when Dask gave an order up for another reason than that workers died of it."""
        error = future.exception(timeout=_SECONDS_TO_FETCH)
        if not isinstance(error, KilledWorker):
            raise MedsegError(
                f"workers of {self._place.words} cannot work ({type(error).__name__}): is medseg"
                f" {__version__} with the extra medseg[cluster] installed there?",
                code="CLUSTER",
            )

    def _do_elsewhere(self, hand: _Hand, worker: str, answer: Answer) -> None:
        """Let another worker do what one cannot do."""
        if answer.no_archive and not Path(hand.task.found.path).exists():
            self._send(hand.task, trusting=True)  # gone for all: reading will say so
            return
        self._refuse(worker, answer.unfit)
        if not self._fit_workers(fresh=True):
            raise self._none_fit()
        self._send(hand.task)

    def _end(self, hand: _Hand) -> None:
        self._hands.pop(hand.task.case, None)
        self._at.pop(hand.task.case, None)
        self._forget(hand.task)

    def _forget(self, task: Task) -> None:
        """Take the mark of an order away."""
        with suppress(OSError):
            begun_mark(task).unlink(missing_ok=True)

    def _look_at_workers(self) -> None:
        """Refuse unfit workers before anything is begun."""
        found: dict[str, Any] = self._client.run(
            unfitness, __version__, 1, on_error="return", wait=True
        )
        threads = self._client.nthreads()
        for worker, said in found.items():
            unfit = unfitness(__version__, threads.get(worker, 1)) if said == "" else said
            if isinstance(unfit, BaseException):
                unfit = f"medseg cannot be imported there ({type(unfit).__name__})"
            if unfit:
                self._refuse(worker, unfit)
        if self._unfit and not self._fit_workers(fresh=True):
            raise self._none_fit()

    def _refuse(self, worker: str, why: str) -> None:
        if worker not in self._unfit:
            self._unfit[worker] = why
            _log.warning("worker %s is not used: %s", worker, why)

    def _none_fit(self) -> InputError:
        worker, why = next(reversed(self._unfit.items()))
        return InputError(
            f"no worker of {self._place.words} can be used; of {worker}: {why}", code="CLUSTER"
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
        if self._fit_workers() or not self._hands:
            self._last_seen = now
        if self._last_seen and now - self._last_seen > _SECONDS_WITHOUT_WORKERS:
            raise MedsegError(
                f"{self._place.words} had no worker for {_SECONDS_WITHOUT_WORKERS:.0f} s; start"
                " workers and run the same command again to continue",
                code="NO_WORKERS",
            )

    def _scheduler_lost(self) -> MedsegError:
        return MedsegError(
            f"the scheduler of {self._place.words} is gone; finished cases are kept: start it"
            " again, and run the same command to continue",
            code="SCHEDULER_LOST",
        )

    def _end_workers(self, workers: list[str]) -> None:
        """End processes that have work in hand; where no nanny watches them they go on."""
        with suppress(*LOST, LookupError):  # a worker may be gone meanwhile
            there = [worker for worker in workers if worker in self._client.nthreads()]
            if there:
                self._client.run(end_worker, workers=there, nanny=True, on_error="ignore")


def _lost(task: Task) -> WorkerDied:
    return WorkerDied(
        cases=(task.case,),
        code="WORKER_DIED",
        message="the worker that had the case in hand ended, or lost its connection",
    )
