"""One GPU for each worker process of a machine, without asking anybody for a number."""

from __future__ import annotations

import functools
import getpass
import os
import tempfile
from pathlib import Path

_MOST_SHARING = 64
_held: list[object] = []


@functools.cache
def own_device() -> str:
    """The device of this process: the GPU that the fewest other workers have.

    A file lock that lasts as long as the process says who has which, so that nothing has to be
    handed back after a crash. Which of a job's GPUs there are is what ``CUDA_VISIBLE_DEVICES``
    says.

    Returns: Such as ``"cuda:1"``; ``"auto"`` where there is at most one GPU.
    """
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return "auto"
    return f"cuda:{_claim(_names(count))}"


def _names(count: int) -> list[str]:
    """What tells the visible GPUs apart on this machine."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return visible if len(visible) == count else [str(index) for index in range(count)]


def _claim(names: list[str]) -> int:
    """Index of the first name that the fewest processes have; held until this process ends."""
    from filelock import FileLock, Timeout

    folder = Path(tempfile.gettempdir(), f"medseg-gpus-{getpass.getuser()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for sharing in range(_MOST_SHARING):
        for index, name in enumerate(names):
            lock = FileLock(folder / f"{name}.{sharing}", blocking=False)
            try:
                lock.acquire()
            except Timeout:
                continue
            _held.append(lock)
            return index
    return os.getpid() % len(names)
