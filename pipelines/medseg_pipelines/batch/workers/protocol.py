"""Who does the work: something that takes tasks and tells what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from medseg_pipelines.batch.messages import Result, Task

Stage = Literal["read", "segment", "write"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """How far a case is.

    Parameters
    ----------
    case : str
        The row of the ledger.
    stage : {"read", "segment", "write"}
    done, total : int
        Steps of this stage; 0 of 0 when it begins.
    """

    case: str
    stage: Stage
    done: int = 0
    total: int = 0


class WorkerDied(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker that ended with cases in hand.

    Parameters
    ----------
    cases : tuple of str
        Those it had begun; one of them is to blame, or none.
    code : str
        ``"WORKER_DIED"``, ``"KILLED_BY_SIGNAL_9"``, ``"OUT_OF_MEMORY"``, ``"HUNG"`` or
        ``"TOO_SLOW"``.
    message : str
    """

    cases: tuple[str, ...]
    code: str
    message: str


Report = Result | WorkerDied | Step


class WorkerPool(Protocol):
    """Workers, in whichever processes and machines; used by one thread.

    A case is begun at most once for each time it is submitted, except that a crew may begin a case
    again by itself when it knows that the case was not to blame for the end of its worker.
    """

    @property
    def capacity(self) -> int:
        """How many tasks it takes in hand at once, those that wait for a worker included."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task in hand.

        Parameters
        ----------
        task : Task
            When ``task.alone`` its worker has nothing else in hand while it works on it.
        """
        ...

    def events(self, timeout_s: float) -> Sequence[Report]:
        """What happened since the last call.

        Parameters
        ----------
        timeout_s : float
            How long to wait for something to happen.

        Returns
        -------
        sequence of Result or WorkerDied or Step
            Empty when nothing happened. Each task ends in one `Result` or in one `WorkerDied`.

        Raises
        ------
        MedsegError
            When no worker can work at all, because of the model or the device: no case is to blame.
        """
        ...

    def kill(self, case: str) -> None:
        """Stop working on a case; nothing more is heard of it.

        Parameters
        ----------
        case : str
            One that was submitted and has not ended.
        """
        ...

    def close(self) -> None:
        """Stop all work at once; cases in hand are not heard of again."""
        ...
