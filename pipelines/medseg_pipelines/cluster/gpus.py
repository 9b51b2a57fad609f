"""A worker process on its machine: a GPU of its own, and who ends it.

Dask loads this module in each worker process that a run starts, and calls `dask_setup`.
"""

from __future__ import annotations

import functools
import getpass
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

_MOST_SHARING = 64
_FIRST_TO_GO = "500"  # of 1000: when memory is short a worker goes before its neighbours
_held: list[object] = []


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the run, and be what the system ends first when memory is short."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


@functools.cache
def own_device() -> str:
    """The GPU that the fewest other workers have, such as ``"cuda:1"``; ``"auto"`` for up to one.

    A file lock that lasts as long as the process says who has which: nothing is to be handed back
    after a crash.
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
