"""Folds on several devices: a process for each device, which takes one fold after another."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import MedsegError
from medseg.runtime.progress import Progress
from medseg.training.cross_validation_folders import fold_folder, fold_model
from medseg.training.run_status import CHECKPOINT
from medseg.training.state import State, read_state

LOG = "log.txt"
"""In a fold's folder: what its process wrote."""
POLL_S = 0.5


def train_on_devices(
    run: Path, numbers: Sequence[int], devices: Sequence[str], dataset: Path, progress: Progress
) -> None:
    """Train folds that are set up; one whose training is over is left alone.

    Parameters
    ----------
    run : Path
    numbers : sequence of int
    devices : sequence of str
        Each has one process at a time; the CPU may be there several times.
    dataset : Path
        Where the dataset is now.
    progress : Progress
        Told the steps of all folds together; when it raises, every process saves its checkpoint
        and ends.

    Raises
    ------
    MedsegError
        When a fold fails; the others are stopped, and can be gone on with.
    """
    waiting = deque(number for number in numbers if fold_model(run, number) is None)
    running: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}
    try:
        while waiting or running:
            for index, device in enumerate(devices):
                if index not in running and waiting:
                    number = waiting.popleft()
                    running[index] = number, _started(run, number, device, dataset)
            _tell(run, numbers, [number for number, _ in running.values()], progress)
            time.sleep(POLL_S)
            for index, (number, process) in list(running.items()):
                if process.poll() is not None:
                    del running[index]
                    _check(run, number, process)
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
        for _, process in running.values():
            process.wait()


def _started(run: Path, number: int, device: str, dataset: Path) -> subprocess.Popen[bytes]:
    module = "medseg.training.cross_validation_worker"
    folder = fold_folder(run, number)
    command = [sys.executable, "-m", module, str(folder), device, str(dataset)]
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - this program, on its own folder
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=sys.platform != "win32",
        )


def _tell(run: Path, numbers: Sequence[int], running: Sequence[int], progress: Progress) -> None:
    begun = State(step=0, total_steps=0, seconds=0.0)
    states = [read_state(fold_folder(run, number) / CHECKPOINT) or begun for number in numbers]
    done, total = sum(s.step for s in states), sum(s.total_steps for s in states)
    progress(done, max(total, done + 1), f"training, folds {', '.join(map(str, running))} at once")


def _check(run: Path, number: int, process: subprocess.Popen[bytes]) -> None:
    """Raise what a fold's process ended with, if it did not end well."""
    if process.returncode == 0:
        return
    folder = fold_folder(run, number)
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = lines[-1] if lines else f"its process ended with code {process.returncode}"
    raise MedsegError(
        f"fold {number} failed: {said} (all it said is in '{folder / LOG}'); every fold is kept, go"
        " on with --resume",
        code="FOLD_FAILED",
    )
