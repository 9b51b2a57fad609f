"""Work that takes the place of a case's: workers find it by its name, so it lies in a module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from medseg.errors import PackageError
from medseg_pipelines.batch.messages import Fault, Result
from medseg_pipelines.batch.workers.protocol import Step


def as_the_file_says(task, tell):
    """Do what the first word in the file of the scan is."""
    path = Path(task.scan.path)
    if not path.exists():
        fault = Fault(code="NOT_FOUND", message="it is gone")
        return Result(case=task.case, token=task.token, state="refused", fault=fault)
    word, _, rest = path.read_text().partition(" ")
    {"wait": _wait, "hang": _hang, "die": _die, "raise": _raise, "pass": _pass, "refuse": _refuse}[
        word
    ](task, tell, rest)
    return Result(
        case=task.case,
        token=task.token,
        state="done",
        content=task.device,
        seconds={"process": os.getpid()},
    )


def _pass(task, tell, rest):
    tell(Step(case=task.case, stage="read"))


def _wait(task, tell, rest):
    until = time.monotonic() + float(rest)
    while time.monotonic() < until:
        tell(Step(case=task.case, stage="segment", done=1, total=2))
        time.sleep(0.02)


def _hang(task, tell, rest):
    tell(Step(case=task.case, stage="segment"))
    time.sleep(float(rest))


def _die(task, tell, rest):
    tell(Step(case=task.case, stage="segment"))
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(task, tell, rest):
    raise KeyError(rest)


def _refuse(task, tell, rest):
    raise PackageError(rest)
