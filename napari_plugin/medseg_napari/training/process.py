"""``medseg train`` as a process of its own, which outlives the viewer: started, stopped, resumed.

What such a process does is read from its run folder with :mod:`medseg.training.run_status`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from medseg.errors import InputError, WriteError
from medseg_napari.config_files import read_config, write_config

_DOOR = "from medseg_pipelines.cli import main; main()"
_TAIL_BYTES = 4_000
_LAST = "last_run.json"
_started: list[subprocess.Popen[bytes]] = []
"""Kept until they have ended, whatever becomes of the panel, so that none is left a zombie."""


class LastRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file ``last_run.json`` among the person's settings."""

    folder: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """One press of Train.

    Parameters
    ----------
    dataset : Path
    run : Path
        Folder of the run, which must not be there yet.
    network : str
        By name; not asked with `start`.
    minutes : float or None
    steps : int or None
    name : str
        Of the model; the dataset's when empty.
    fold : int
        Held out, and measured on.
    start : str
        Model to go on from (name or folder), or ``""``.
    status : str
        Least that a case was checked.
    settings : tuple of str
    device : str
    """

    dataset: Path
    run: Path
    network: str = "unet"
    minutes: float | None = None
    steps: int | None = None
    name: str = ""
    fold: int = 0
    start: str = ""
    status: str = "reviewed"
    settings: tuple[str, ...] = ()
    device: str = "auto"

    def arguments(self) -> list[str]:
        """Words of the command line after ``medseg``."""
        command = [
            "train",
            str(self.dataset),
            "--output",
            str(self.run),
            "--fold",
            str(self.fold),
        ]
        command += ["--cases", self.status, "--device", self.device]
        command += ["--from", self.start] if self.start else ["--network", self.network]
        for option, value in (("--minutes", self.minutes), ("--steps", self.steps)):
            command += [option, f"{value:g}"] if value is not None else []
        for setting in () if self.start else self.settings:
            command += ["--set", setting]
        return command + (["--name", self.name] if self.name else [])


def start_training(request: TrainRequest) -> subprocess.Popen[bytes]:
    """Start a run, which goes on when napari ends; its output goes to :func:`log_of` the run.

    `InputError` when its folder is in use, `WriteError` when nothing can be written beside it.
    """
    if request.run.exists() and (not request.run.is_dir() or any(request.run.iterdir())):
        raise InputError(
            f"'{request.run}' is there already; choose another name, or resume that run"
        )
    return _start(request.arguments(), request.run)


def resume_training(run: Path) -> subprocess.Popen[bytes]:
    """Take up a stopped run at its checkpoint, with its options; `InputError` when it cannot be."""
    from medseg.training.run_status import run_status

    run_state = run_status(run)
    if not run_state.resumable:
        raise InputError(f"the run in '{run}' is {run_state.phase}; there is nothing to resume")
    return _start(["train", "--output", str(run), "--resume"], run)


def log_of(run: Path) -> Path:
    """The file with all that the processes of a run said; it lies beside the run's folder."""
    return run.with_name(f"{run.name}.log")


def last_error(run: Path) -> str:
    """Why the last process of a run ended badly, in its own sentence; else an empty string."""
    try:
        with log_of(run).open("rb") as stream:
            stream.seek(max(0, log_of(run).stat().st_size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    errors = [line for line in lines if line.startswith("medseg: error:")]
    if errors and errors[-1] in lines[-3:]:
        return errors[-1].removeprefix("medseg: error:").strip()
    return lines[-1] if "Error" in lines[-1] else ""


def save_last_run(run: Path) -> None:
    """Keep which run is looked at, so that a new panel finds it again."""
    write_config(_LAST, LastRun(folder=str(run.resolve())))


def last_run() -> Path | None:
    """The run that was looked at last, if it is still there."""
    folder = read_config(_LAST, LastRun()).folder
    return Path(folder) if folder and Path(folder).is_dir() else None


def _start(arguments: list[str], run: Path) -> subprocess.Popen[bytes]:
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
        with log_of(run).open("ab") as log:
            return _spawn([sys.executable, "-P", "-c", _DOOR, *arguments], log)
    except OSError as error:
        raise WriteError(
            f"cannot start a run in '{run.parent}': {error.strerror}; choose another folder"
        ) from error


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that neither napari's end nor a Ctrl-C reaches it."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    _started[:] = [running for running in _started if running.poll() is None]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and words, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    _started.append(process)
    return process
