"""A run seen from outside: how far it is, whether a process is at it, and how to stop that.

Nothing here needs torch, and nothing needs the process to answer: a run's folder says it all.
"""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from filelock import FileLock, Timeout

from medseg.errors import InputError
from medseg.planning.plan import decode, encode, read_plan
from medseg.planning.sides import side_doubt, side_sentence
from medseg.training.dataset_source import DatasetSource
from medseg.training.history import read_history
from medseg.training.state import read_state
from medseg.volume import LabelTable
from medseg.writing import write_bytes

LOCK, PROCESS, SOURCE, OPTIONS = "lock", "process.json", "dataset.json", "options.json"
CHECKPOINT, BEST, MODEL = "checkpoint.safetensors", "checkpoint_best.safetensors", "model"
PLAN, CACHE, IDENTITY = "plan.json", "cache", "identity.json"
FOLDS = "folds.json"
"""In a run of several folds, which holds the run of each: the folds that were asked for."""
BUSY = "BUSY"
"""Code of the error when another process holds a run."""
STOP_TIMEOUT_S = 2.0
"""How long a starting run waits for somebody who only looks at the lock."""

Kind = TypeVar("Kind")
Phase = Literal["absent", "running", "stopped", "finished"]


class RunProcess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The process that holds a run."""

    pid: int
    host: str


class ChosenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who watches needs of a run's ``options.json``; the rest is passed over.

    Parameters
    ----------
    steps : int or None
    minutes : float or None
    fold : int or None
    network : str
    name : str or None
    start : str or None
        Model that the run starts from.
    """

    steps: int | None = None
    minutes: float | None = None
    fold: int | None = None
    network: str = ""
    name: str | None = None
    start: str | None = None


class LearntLabels(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who watches needs of a run's ``identity.json``.

    Parameters
    ----------
    labels : LabelTable
    """

    labels: LabelTable


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment.

    Parameters
    ----------
    folder : Path
    phase : {"absent", "running", "stopped", "finished"}
        Whether a process is at it, and whether there is a model.
    step, total_steps : int
        Optimiser steps done and in all; 0 while that is not known.
    seconds : float
    losses : tuple of (int, float)
    dice : tuple of (int, dict)
        Step and mean Dice by label on held-out cases. Step 0 is the model it started from.
    options : ChosenOptions
    source : DatasetSource or None
    sides : str
        What the plan does about left and right, as a sentence; empty while there is no plan, and
        when there is nothing to say.
    """

    folder: Path
    phase: Phase
    step: int
    total_steps: int
    seconds: float
    losses: tuple[tuple[int, float], ...]
    dice: tuple[tuple[int, dict[str, float]], ...]
    options: ChosenOptions
    source: DatasetSource | None
    sides: str = ""

    @property
    def resumable(self) -> bool:
        """Whether the run can be taken up again."""
        return self.phase == "stopped"


def run_status(run: Path) -> RunStatus:
    """How a run is.

    Raises
    ------
    PlanError
        When a file of it does not decode.
    """
    records = read_history(run)
    losses = tuple((record["step"], record["loss"]) for record in records if "loss" in record)
    last: dict[str, Any] = records[-1] if records else {"step": 0, "seconds": 0.0}
    state = read_state(run / CHECKPOINT)
    options = _read(run / OPTIONS, ChosenOptions) or ChosenOptions()
    total = state.total_steps if state is not None else 0
    return RunStatus(
        folder=run,
        phase=_phase(run),
        step=last["step"],
        total_steps=total or options.steps or 0,
        seconds=last["seconds"],
        losses=losses,
        dice=tuple((record["step"], record["dice"]) for record in records if "dice" in record),
        options=options,
        source=_read(run / SOURCE, DatasetSource),
        sides=_sides(run),
    )


def _sides(run: Path) -> str:
    """What a person is told of left and right."""
    learnt = _read(run / IDENTITY, LearntLabels)
    if learnt is None or not (run / PLAN).is_file():
        return ""
    exchanged = read_plan(run / PLAN).exchanges_sides
    return side_sentence(exchanged=exchanged, doubt=side_doubt(learnt.labels))


def stop_run(run: Path) -> None:
    """Ask the process at a run to save a checkpoint and end; it does after its current step.

    Raises
    ------
    InputError
        When no process is at it, or one on another machine.
    """
    process = _read(run / PROCESS, RunProcess)
    if process is None or not is_locked(run):
        raise InputError(f"no process is training in '{run}'; there is nothing to stop")
    if process.host != platform.node():
        raise InputError(
            f"the run in '{run}' is trained on the machine '{process.host}'; stop it there (kill"
            f" -INT {process.pid})"
        )
    os.kill(process.pid, signal.SIGINT)


def is_locked(run: Path) -> bool:
    """Whether a process holds the run's folder."""
    if not (run / LOCK).is_file():
        return False
    lock = FileLock(run / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold the run's folder; the system lets go of it whenever and however the process ends.

    Raises
    ------
    InputError
        When another process holds it.
    """
    lock = FileLock(run / LOCK, timeout=STOP_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"another process is training in '{run}'; wait for it or stop it first", code=BUSY
        ) from error
    try:
        write_bytes(run / PROCESS, encode(RunProcess(pid=os.getpid(), host=platform.node())))
        yield
    finally:
        lock.release()


def _phase(run: Path) -> Phase:
    if not (run / OPTIONS).is_file():
        return "absent"
    if is_locked(run):
        return "running"
    return "finished" if (run / MODEL / "manifest.json").is_file() else "stopped"


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    return decode(path.read_bytes(), kind, where=str(path)) if path.is_file() else None
