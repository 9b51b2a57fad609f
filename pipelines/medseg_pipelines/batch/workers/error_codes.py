"""What an exception in the work on a case says about the case: refused, or failed, and why."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from medseg.errors import InputError, MedsegError
from medseg_pipelines.batch.ledger.storage_errors import DISK_FULL
from medseg_pipelines.batch.messages import Fault, Result, ScanRecord, Task

OUT_OF_MEMORY = "OUT_OF_MEMORY"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_OF_THE_SCAN = {"BLANK_UIDS", "CODE", "ENCODING", "NO_DICOM_SOURCE", "SHEARED", "SOURCE_HEADERS"}
"""Codes with which writers say that this scan can never be written in this format."""

_NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "bad allocation")
_MOST_NAMES = 20_000


def result_of(error: Exception, task: Task, stage: str) -> Result:
    """An exception as a result without patient text: refused when trying again cannot help."""
    state, fault = _judged(error, task, stage)
    return Result(case=task.case, token=task.token, state=state, fault=fault)


def refused(task: Task, code: str, message: str) -> Result:
    """The refusal of a task."""
    fault = Fault(code=code, message=message)
    return Result(case=task.case, token=task.token, state="refused", fault=fault)


def scrubbed(message: str, scan: ScanRecord) -> str:
    """A message in one line, without names of the scan's files: patients may be called so."""
    line = message.splitlines()[0] if message else message
    for name in sorted(set(_names(scan)), key=len, reverse=True):
        line = line.replace(name, "the scan")
    return line


def _judged(error: Exception, task: Task, stage: str) -> tuple[Literal["refused", "failed"], Fault]:
    if _no_memory(error):
        message = f"the memory was not enough to {stage} it; give more, or use a smaller model"
        return "failed", Fault(code=OUT_OF_MEMORY, message=message)
    system = _of_system(error)
    if system is not None and system.errno in _NO_ROOM:
        return "failed", Fault(code=DISK_FULL, message="the disk is full; free some space")
    if not isinstance(error, MedsegError):
        name = type(error).__name__
        return "failed", Fault(code=name.upper(), message=f"{name} while it was to {stage} it")
    if isinstance(error, InputError) and not Path(task.scan.path).exists():
        return "failed", Fault(code="VANISHED", message="its files are no longer where they were")
    for_ever = error.code in _OF_THE_SCAN or (isinstance(error, InputError) and system is None)
    for_ever = for_ever and error.code != OUT_OF_MEMORY
    fault = Fault(code=error.code, message=scrubbed(str(error), task.scan))
    return ("refused" if for_ever else "failed"), fault


def _no_memory(error: Exception) -> bool:
    causes = list(_causes(error))
    texts = " ".join(str(cause).lower() for cause in causes if isinstance(cause, RuntimeError))
    return any(isinstance(cause, MemoryError) for cause in causes) or any(
        phrase in texts for phrase in _NO_MEMORY
    )


def _of_system(error: Exception) -> OSError | None:
    """What the operating system said, where that is the cause: the disk may do better next time."""
    errors = (cause for cause in _causes(error) if isinstance(cause, OSError))
    return next((cause for cause in errors if cause.errno is not None), None)


def _causes(error: Exception) -> Iterator[BaseException]:
    """An exception, and those that it was raised because of."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _names(scan: ScanRecord) -> Iterator[str]:
    """Names of the files of a scan, and its path."""
    path = Path(scan.path)
    yield from (scan.path, path.name)
    for name in (*scan.names, *scan.channels):
        yield from (name, Path(name).name)
    if path.is_dir() and not scan.names:
        yield from (inner.name for inner in itertools.islice(path.rglob("*"), _MOST_NAMES))
