"""What a worker gets and sends: JSON, and one function that does a task.

Nothing stays on the worker but the loaded model. A task that was begun before, on a worker that is
gone, is not begun again: the ledger decides.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from distributed import get_worker

from medseg import __version__
from medseg.errors import MedsegError
from medseg_pipelines.batch.ledger.storage_errors import DISK_FULL
from medseg_pipelines.batch.messages import Fault, Result, Task
from medseg_pipelines.batch.workers.error_codes import result_of
from medseg_pipelines.batch.workers.protocol import Report, Step, WorkerDied
from medseg_pipelines.cluster.gpus import own_device

Work = Callable[[Task, Callable[[Step], None]], Result]
BEGUN = ".begun"
_SECONDS_BETWEEN_STEPS = 2.0


class Unfit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """The worker cannot work for this run."""

    why: str


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker sends: how far it is, and in the end what became of the task.

    A result that the client had to fetch could be lost with the worker.
    """

    worker: str
    case: str
    token: str
    report: Report | Unfit


def run_remote(
    version: str, topic: str, message: bytes, work: Work | None = None
) -> tuple[str, str]:
    """Do a `Task`, given as JSON, in a Dask worker; the topic gets its `Heartbeat`.

    Returns the worker's address, and why a worker of another version does not even read the task.
    """
    worker = get_worker()
    if unfit := unfitness(version, worker.state.nthreads):
        return worker.address, unfit
    task = msgspec.json.decode(message, type=Task)
    reporter = _Reporter(task, topic, worker)
    reporter.send(_hindrance(task) or _begin(task, work, reporter))
    return worker.address, ""


def unfitness(version: str, threads: int) -> str:
    """Why a worker cannot work for a run of some version of medseg, or nothing."""
    if version != __version__:
        return f"it has medseg {__version__}, this run is medseg {version}"
    if threads != 1:
        return f"it does {threads} tasks at once in one process; start it with --nthreads 1"
    return ""


def end_worker(dask_worker: Any) -> None:
    """End the worker process of a nanny, which Dask gives by this name and which starts another."""
    os.kill(dask_worker.pid, signal.SIGKILL)


def begun_mark(task: Task) -> Path:
    """The file that says that a worker has begun a task."""
    return Path(task.staging).with_name(f"{task.token}{BEGUN}")


def lost(task: Task) -> WorkerDied:
    """For a task that a worker had begun, and ended in the middle."""
    message = "the worker that had the case in hand ended, or lost its connection"
    return WorkerDied(cases=(task.case,), code="WORKER_DIED", message=message)


def _hindrance(task: Task) -> Result | WorkerDied | Unfit | None:
    """Why the task is not begun, if it is not; otherwise the mark that it is."""
    needed = {"archive": Path(task.scan.path), "output folder": Path(task.staging).parent}
    for what, path in needed.items():
        if not path.exists():
            return Unfit(f"it does not see the {what} at the path where this run sees it")
    if unfit := _missing_model(task.model, task.model_digest):
        return Unfit(unfit)
    try:
        begun_mark(task).open("xb").close()
    except FileExistsError:
        return lost(task)
    except OSError as error:
        failed = result_of(error, task, "begin")
        if failed.fault and failed.fault.code == DISK_FULL:
            return failed
        return Unfit(f"it cannot write into the output: {error.strerror}")
    return None


@functools.lru_cache(maxsize=8)
def _missing_model(folder: str, digest: str) -> str:
    """Why the model is not the one of this run, or nothing."""
    from medseg.model_package import ModelPackage
    from medseg.workflows.record import model_digest

    try:
        own = model_digest(ModelPackage.open(Path(folder)))
    except MedsegError as error:
        return f"it cannot open the model: {error}"
    if own != digest:
        return f"its model at '{folder}' is another one (digest {own[:12]}, not {digest[:12]})"
    return ""


def _begin(task: Task, work: Work | None, report: Callable[[Step], None]) -> Result | Unfit:
    """Do the work; whatever goes wrong with a case is its result."""
    if task.device == "auto":
        task = msgspec.structs.replace(task, device=own_device())
    try:
        if work is None:  # what it imports takes seconds, once in each process
            from medseg_pipelines.batch.workers import case

            work = case.work
        return work(task, report)
    except MedsegError as error:
        begun_mark(task).unlink(missing_ok=True)
        return Unfit(f"it cannot begin: {error}")
    except Exception as error:  # noqa: BLE001 - Dask would log what it holds, patients' names too
        fault = Fault(code=type(error).__name__, message="the work on the case ended in an error")
        return Result(case=task.case, token=task.token, state="failed", fault=fault)


class _Reporter:
    """Sends each new stage, every few seconds how far it is, and what became of the task."""

    def __init__(self, task: Task, topic: str, worker: Any) -> None:
        self._task, self._topic, self._worker = task, topic, worker
        self._stage, self._next = "", 0.0

    def __call__(self, step: Step) -> None:
        """Pass a step on, if it is time."""
        now = time.monotonic()
        if step.stage != self._stage or now >= self._next:
            self._stage, self._next = step.stage, now + _SECONDS_BETWEEN_STEPS
            self.send(step)

    def send(self, report: Report | Unfit) -> None:
        """Send to the run."""
        task, worker = self._task, self._worker
        beat = Heartbeat(worker=worker.address, case=task.case, token=task.token, report=report)
        worker.log_event(self._topic, msgspec.json.encode(beat).decode())
