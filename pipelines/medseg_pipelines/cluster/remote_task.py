"""What a worker is told and answers: JSON, and one function that carries an order out.

Nothing stays on the worker but the loaded model. An order that was begun before, on a worker that
is gone, is not begun again: that is told, and the ledger decides.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from medseg import __version__
from medseg.errors import MedsegError
from medseg_pipelines.batch.ledger.os_errors import DISK_FULL
from medseg_pipelines.batch.messages import Fault, Result, Task
from medseg_pipelines.batch.workers.error_codes import result_of
from medseg_pipelines.batch.workers.protocol import Step
from medseg_pipelines.cluster.gpus import own_device

Tell = Callable[[Step], None]
Work = Callable[[Task, Tell], Result]
BEGUN = ".begun"
_SECONDS_BETWEEN_STEPS = 2.0


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task for a worker.

    Parameters
    ----------
    task : Task
    topic : str
        Under which progress is told.
    trusting : bool
        Whether the archive is known to be seen from there.
    """

    task: Task
    topic: str
    trusting: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of an order.

    Parameters
    ----------
    result : Result or None
    begun_before : bool
        Whether another worker had begun, and ended in the middle.
    unfit : str
        Why this worker cannot work for this run, or empty.
    no_archive : bool
        Whether it is unfit because it does not see the scan, which may also be gone for all.
    """

    result: Result | None = None
    begun_before: bool = False
    unfit: str = ""
    no_archive: bool = False


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker tells while it works: how far it is, and in the end its answer.

    The answer travels with the message that the work is over, and is not kept for the client to
    fetch: so it cannot be lost with the worker.
    """

    worker: str
    case: str
    token: str
    step: Step | None = None
    answer: Answer | None = None


def carry_out(version: str, order: bytes, work: Work | None = None) -> tuple[str, str]:
    """Carry out an order in a Dask worker, and tell on its topic what became of it.

    Parameters
    ----------
    version : str
        Of the medseg that gives the order.
    order : bytes
        `Order` as JSON.
    work : callable, optional
        In place of the work on a case.

    Returns
    -------
    worker : str
        Its address.
    unfit : str
        Why it does not understand the order, or empty. Nothing is raised.
    """
    here = _here()
    if unfit := unfitness(version, here.threads):
        return here.address, unfit
    wanted = msgspec.json.decode(order, type=Order)
    telling = _Telling(wanted, here)
    telling.end(_hindrance(wanted) or _begin(wanted.task, work, telling))
    return here.address, ""


def unfitness(version: str, threads: int) -> str:
    """Why a worker cannot work for a run of some version of medseg, or nothing."""
    if version != __version__:
        return f"it has medseg {__version__}, this run is medseg {version}"
    if threads != 1:
        return f"it does {threads} tasks at once in one process; start it with --nthreads 1"
    return ""


def end_worker(dask_worker: Any) -> None:
    """End the worker process of a nanny, which starts another; called in the nanny.

    Parameters
    ----------
    dask_worker : distributed.Nanny
        Dask gives it to an argument of this name.
    """
    os.kill(dask_worker.pid, signal.SIGKILL)


def begun_mark(task: Task) -> Path:
    """The file that says that a worker has begun a task."""
    return Path(task.staging).with_name(f"{task.token}{BEGUN}")


@dataclass(frozen=True)
class _Here:
    """The worker that this runs in."""

    address: str
    threads: int
    tell: Callable[[str, str], None]


def _here() -> _Here:
    from distributed import get_worker

    worker = get_worker()
    return _Here(worker.address, worker.state.nthreads, worker.log_event)


def _hindrance(order: Order) -> Answer | None:
    """Why the order is not begun, if it is not; otherwise the mark that it is."""
    task = order.task
    if not order.trusting and not Path(task.found.path).exists():
        unfit = "it does not see the archive at the path where this run sees it"
        return Answer(unfit=unfit, no_archive=True)
    if unfit := _missing_output(task) or _missing_model(task.model, task.model_digest):
        return Answer(unfit=unfit)
    try:
        begun_mark(task).open("xb").close()
    except FileExistsError:
        return Answer(begun_before=True)
    except OSError as error:
        failed = result_of(error, task, "begin")
        if failed.fault and failed.fault.code == DISK_FULL:
            return Answer(result=failed)
        return Answer(unfit=f"it cannot write into the output: {error.strerror}")
    return None


def _missing_output(task: Task) -> str:
    if Path(task.staging).parent.is_dir():
        return ""
    return "it does not see the output folder at the path where this run sees it"


@functools.lru_cache(maxsize=8)
def _missing_model(folder: str, digest: str) -> str:
    """Why the model is not the one of this run, or nothing."""
    from medseg.model_package import ModelPackage
    from medseg.workflows.record import model_digest

    try:
        found = model_digest(ModelPackage.open(Path(folder)))
    except MedsegError as error:
        return f"it cannot open the model: {error}"
    if found != digest:
        return f"its model at '{folder}' is another one (digest {found[:12]}, not {digest[:12]})"
    return ""


def _begin(task: Task, work: Work | None, tell: Tell) -> Answer:
    """Do the work; whatever goes wrong with a case is its result."""
    if task.device == "auto":
        task = msgspec.structs.replace(task, device=own_device())
    try:
        return Answer(result=(work or _case_work())(task, tell))
    except MedsegError as error:
        begun_mark(task).unlink(missing_ok=True)
        return Answer(unfit=f"it cannot begin: {error}")
    except Exception as error:  # noqa: BLE001 - Dask would log what it holds, patients' names too
        fault = Fault(code=type(error).__name__, message="the work on the case ended in an error")
        failed = Result(case=task.case, token=task.token, state="failed", fault=fault)
        return Answer(result=failed)


def _case_work() -> Work:
    """The work on a case; what it imports takes seconds, once in each process."""
    from medseg_pipelines.batch.workers import case as case_work

    return case_work.work


class _Telling:
    """Tells each new stage, every few seconds how far it is, and the answer."""

    def __init__(self, order: Order, here: _Here) -> None:
        self._order, self._here = order, here
        self._stage, self._next = "", 0.0

    def __call__(self, step: Step) -> None:
        """Pass a step on, if it is time."""
        now = time.monotonic()
        if step.stage == self._stage and now < self._next:
            return
        self._stage, self._next = step.stage, now + _SECONDS_BETWEEN_STEPS
        self._tell(step=step)

    def end(self, answer: Answer) -> None:
        """Tell the answer."""
        self._tell(answer=answer)

    def _tell(self, *, step: Step | None = None, answer: Answer | None = None) -> None:
        task = self._order.task
        told = Heartbeat(
            worker=self._here.address, case=task.case, token=task.token, step=step, answer=answer
        )
        self._here.tell(self._order.topic, msgspec.json.encode(told).decode())
