"""What a worker is told and answers: JSON, and one function that does a task.

Nothing stays on the worker but the loaded model. A task that was begun before, on a worker that is
gone, is not begun again: that is told, and the ledger decides.
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
from medseg_pipelines.batch.ledger.storage_errors import DISK_FULL
from medseg_pipelines.batch.messages import Fault, Result, Task
from medseg_pipelines.batch.workers.error_codes import result_of
from medseg_pipelines.batch.workers.protocol import Step
from medseg_pipelines.cluster.gpus import own_device

Tell = Callable[[Step], None]
Work = Callable[[Task, Tell], Result]
BEGUN = ".begun"
_SECONDS_BETWEEN_STEPS = 2.0


class RemoteTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task for a worker."""

    task: Task
    topic: str  # under which progress is told
    trusting: bool = False  # whether the archive is known to be seen from there


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of a task."""

    result: Result | None = None
    begun_before: bool = False  # whether another worker had begun, and ended in the middle
    unfit: str = ""  # why this worker cannot work for this run, or empty
    # whether it is unfit because it does not see the scan, which may also be gone for all
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


def run_remote(version: str, message: bytes, work: Work | None = None) -> tuple[str, str]:
    """Do a `RemoteTask`, given as JSON, in a Dask worker, and tell on its topic what became of it.

    Returns the worker's address, and why a worker of another version does not even read the task,
    or nothing. Nothing is raised.
    """
    here = _here()
    if unfit := unfitness(version, here.threads):
        return here.address, unfit
    remote = msgspec.json.decode(message, type=RemoteTask)
    reporter = _Reporter(remote, here)
    reporter.report(answer=_hindrance(remote) or _begin(remote.task, work, reporter))
    return here.address, ""


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


def _hindrance(remote: RemoteTask) -> Answer | None:
    """Why the task is not begun, if it is not; otherwise the mark that it is."""
    task = remote.task
    if not remote.trusting and not Path(task.scan.path).exists():
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
        own = model_digest(ModelPackage.open(Path(folder)))
    except MedsegError as error:
        return f"it cannot open the model: {error}"
    if own != digest:
        return f"its model at '{folder}' is another one (digest {own[:12]}, not {digest[:12]})"
    return ""


def _begin(task: Task, work: Work | None, tell: Tell) -> Answer:
    """Do the work; whatever goes wrong with a case is its result."""
    if task.device == "auto":
        task = msgspec.structs.replace(task, device=own_device())
    try:
        if work is None:  # what it imports takes seconds, once in each process
            from medseg_pipelines.batch.workers import case

            work = case.work
        return Answer(result=work(task, tell))
    except MedsegError as error:
        begun_mark(task).unlink(missing_ok=True)
        return Answer(unfit=f"it cannot begin: {error}")
    except Exception as error:  # noqa: BLE001 - Dask would log what it holds, patients' names too
        fault = Fault(code=type(error).__name__, message="the work on the case ended in an error")
        failed = Result(case=task.case, token=task.token, state="failed", fault=fault)
        return Answer(result=failed)


class _Reporter:
    """Tells each new stage, every few seconds how far it is, and the answer."""

    def __init__(self, remote: RemoteTask, here: _Here) -> None:
        self._remote, self._here = remote, here
        self._stage, self._next = "", 0.0

    def __call__(self, step: Step) -> None:
        """Pass a step on, if it is time."""
        now = time.monotonic()
        if step.stage != self._stage or now >= self._next:
            self._stage, self._next = step.stage, now + _SECONDS_BETWEEN_STEPS
            self.report(step=step)

    def report(self, *, step: Step | None = None, answer: Answer | None = None) -> None:
        """Tell the run."""
        task, worker = self._remote.task, self._here.address
        beat = Heartbeat(worker=worker, case=task.case, token=task.token, step=step, answer=answer)
        self._here.tell(self._remote.topic, msgspec.json.encode(beat).decode())
