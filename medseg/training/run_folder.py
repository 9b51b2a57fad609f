"""The folder of a run: made at its start, and left such that it goes on, or not at all."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import Cancelled, InputError, WriteError, reason
from medseg.planning import Plan
from medseg.planning.plan import encode
from medseg.training.dataset_source import DatasetSource
from medseg.training.fine_tuning import FILE as PARENT
from medseg.training.options import TrainingOptions
from medseg.training.run_status import (
    BUSY,
    CACHE,
    CHECKPOINT,
    FOLDS,
    IDENTITY,
    OPTIONS,
    PLAN,
    SOURCE,
)
from medseg.training.state import read_state
from medseg.writing import write_bytes

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BEGUN = re.compile(rf"{PLAN}|{SOURCE}|{PARENT}|{FOLDS}|\.[0-9a-f]{{12}}\.json", re.ASCII)
"""What a process that was killed before the options were kept may leave."""


def is_free(run: Path) -> bool:
    """Whether a run can begin there: nothing is in the folder, or what a killed start left."""
    if not run.exists():
        return True
    return run.is_dir() and all(_BEGUN.fullmatch(path.name) for path in run.iterdir())


def cache_of(run: Path) -> Path:
    """Where the prepared cases of a run lie; those of one fold of several share them."""
    return (run.parent if (run.parent / FOLDS).is_file() else run) / CACHE


def check_single(run: Path) -> None:
    """Refuse a run of several folds, where one training is gone on with."""
    if (run / FOLDS).is_file():
        raise InputError(
            f"'{run}' holds the runs of several folds; go on with them by --folds all, in Python"
            " by medseg.training.train_folds",
            code="SEVERAL_FOLDS",
        )


def save_options(run: Path, options: TrainingOptions) -> None:
    """Write down, in the run, what was chosen."""
    write_bytes(run / OPTIONS, encode(options))


def create_run_folder(run: Path, options: TrainingOptions, files: dict[str, bytes]) -> None:
    """Make a run's folder, with what it is to be trained by; the options come last.

    Parameters
    ----------
    run : Path
    options : TrainingOptions
    files : dict of str to bytes
        Other files that it holds from the start.

    Raises
    ------
    InputError
        When there is something already.
    WriteError
        When the disk does not take it; nothing is left behind.
    """
    if not is_free(run):
        raise InputError(
            f"'{run}' exists and is not empty; continue it with --resume, or choose another folder"
        )
    try:
        run.mkdir(parents=True, exist_ok=True)
        for left in run.iterdir():
            left.unlink()
        for name, content in files.items():
            write_bytes(run / name, content)
        save_options(run, options)
    except (OSError, WriteError) as error:
        shutil.rmtree(run, ignore_errors=True)
        raise _disk_error(error, "start again") from error


def first_files(plan: Plan | None, source: DatasetSource | None) -> dict[str, bytes]:
    """The files of what is there before the run, for :func:`create_run_folder`."""
    values = {PLAN: plan, SOURCE: source}
    return {name: encode(value) for name, value in values.items() if value is not None}


@contextmanager
def orderly_end(run: Path, *, starts: bool) -> Iterator[None]:
    """Training in a run's folder, which afterwards can be gone on with, or is no more.

    A start that failed before its first step is removed. One that was stopped is kept, and so is
    one whose disk was full, as that is no fault of what was chosen.

    Parameters
    ----------
    run : Path
    starts : bool
        Whether the run starts, and is not resumed.

    Raises
    ------
    WriteError
        In place of what the system says of a full disk.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, WriteError) or getattr(error, "errno", None) in DISK_ERRORS
        stays = (full and (run / IDENTITY).is_file()) or isinstance(error, Cancelled)
        stays = stays or not starts or getattr(error, "code", "") == BUSY
        states = map(read_state, (run / CHECKPOINT, *run.glob(f"*/{CHECKPOINT}")))
        if not stays and not any(state and state.step for state in states):
            shutil.rmtree(run, ignore_errors=True)
        if full:
            raise _disk_error(error, "go on with --resume" if stays else "start again") from error
        raise


def _disk_error(error: Exception, then: str) -> WriteError:
    """What is wrong with the disk, and what to do."""
    advice = "" if "free some space" in str(error) else "; free some space"
    return WriteError(f"{reason(error)}{advice}, then {then}", code="DISK_FULL")
