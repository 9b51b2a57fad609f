"""A worker's own process: it dies with the run, before the run, and leaves nothing on the disk."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_EASY_PREY = "500"  # of 1000: when memory is short a worker goes before the run and its neighbours
_GB = 1 << 30


def apply(parent: int, memory_gb: float | None) -> None:
    """Arrange how this process ends: when its parent does, the run, and when memory is short."""
    for kind in ("SIGINT", "SIGTERM", "SIGHUP"):  # those are for the run, which tells its workers
        if hasattr(signal, kind):
            signal.signal(getattr(signal, kind), signal.SIG_IGN)
    _die_with(parent)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_EASY_PREY, "ascii")
    _limit(memory_gb)


def end_all() -> None:
    """End this process and all that it started, at once."""
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_with(parent: int) -> None:
    """Let the system kill this process when its parent ends, even when it is stopped."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        end_all()


def _limit(memory_gb: float | None) -> None:
    """No core dumps, for they hold patients' data; and no more memory than this."""
    try:
        import resource
    except ImportError:
        return
    limits = {resource.RLIMIT_CORE: 0}
    if memory_gb is not None:
        limits[resource.RLIMIT_DATA] = int(memory_gb * _GB)
    for kind, most in limits.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))
