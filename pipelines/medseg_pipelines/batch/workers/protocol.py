"""Who does the work: something that takes tasks and reports what became of them."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, Protocol, TypeVar

import msgspec

from medseg_pipelines.batch.messages import Result, Task

Stage = Literal["read", "segment", "write"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """How far a case is."""

    case: str
    stage: Stage
    done: int = 0  # steps of this stage; 0 of 0 when it begins
    total: int = 0


class WorkerDied(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """A worker that ended with cases in flight."""

    cases: tuple[str, ...]  # those it had begun; one of them is to blame, or none
    code: str  # WORKER_DIED, KILLED_BY_SIGNAL_9, OUT_OF_MEMORY, HUNG or TOO_SLOW
    message: str


Report = Result | WorkerDied | Step
Entry = TypeVar("Entry")


class WorkerPool(Protocol):
    """Workers, in whichever processes and machines; used by one thread.

    A case is begun at most once for each time it is submitted, except that a pool may begin a case
    again by itself when it knows that the case was not to blame for the end of its worker.
    """

    @property
    def capacity(self) -> int:
        """How many tasks it takes at once, those that wait for a worker included."""

    def submit(self, task: Task) -> None:
        """Take a task; when ``task.alone`` its worker has nothing else in flight meanwhile."""

    def events(self, timeout_s: float) -> Sequence[Report]:
        """What happened since the last call; waits at most so long for something to happen.

        Each task ends in one `Result` or in one `WorkerDied`. Raises `MedsegError` when no worker
        can work at all, because of the model or the device: no case is to blame.
        """

    def close(self) -> None:
        """Stop all work at once; nothing more is reported of cases in flight."""


def drain(source: queue.SimpleQueue[Entry], timeout_s: float) -> Iterator[Entry]:
    """All that is in a queue; waits for the first."""
    with suppress(queue.Empty):
        yield source.get(timeout=max(timeout_s, 0.0))
        while True:
            yield source.get_nowait()
