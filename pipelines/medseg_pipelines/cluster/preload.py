"""What each worker process of ours does first; Dask calls `dask_setup`."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

_FIRST_TO_GO = "500"


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the run, and be what the system ends first when memory is short."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
