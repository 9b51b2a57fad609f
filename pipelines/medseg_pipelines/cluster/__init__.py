"""Workers on other machines, through dask.distributed; the extra ``medseg[cluster]``.

Nothing of Dask is imported before :func:`pool_of` is called.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import InputError

if TYPE_CHECKING:
    from medseg_pipelines.batch.workers.protocol import WorkerPool
    from medseg_pipelines.cluster.backend import Backend
    from medseg_pipelines.cluster.remote_task import Work

__all__ = ["pool_of"]

_FORMS = "HOST:PORT, a Dask scheduler file (.json), local:N or slurm:FILE.toml"
_ADDRESS = re.compile(r"(?:(?:tcp|tls|ucx|wss?)://)?(?:\[[\da-fA-F:.]+\]|[\w.-]+):\d{1,5}")
_MOST_LOCAL = 512


def pool_of(
    text: str, *, stall_timeout_s: float = 3600.0, work: Work | None = None
) -> Callable[[], WorkerPool]:
    """What makes the workers that ``--cluster`` names; text and file are checked at once.

    Both this and calling it raise `InputError`: for what cannot be read, is not installed, or
    cannot be reached. `work`, a function of a module, takes the place of the work on a case.
    """
    if not all(importlib.util.find_spec(name) for name in ("distributed", "dask_jobqueue")):
        raise InputError(
            "--cluster needs Dask, which is not installed: pip install 'medseg[cluster]'",
            code="NOT_INSTALLED",
        )
    backend = _backend(text.strip())  # sets up Dask's logging, before others import it
    from medseg_pipelines.cluster.dask_pool import DaskPool

    return lambda: DaskPool(backend(), stall_timeout_s=stall_timeout_s, work=work)


def _backend(text: str) -> Callable[[], Backend]:
    """What starts the workers, or connects to them."""
    from medseg_pipelines.cluster import backend
    from medseg_pipelines.cluster.slurm_file import read_slurm_file

    kind, _, rest = text.partition(":")
    if kind == "local":
        return partial(backend.local, _count(rest))
    if kind == "slurm":
        return partial(backend.slurm, read_slurm_file(Path(rest)))
    if text.endswith(".json"):
        return partial(backend.by_file, Path(text))
    if _ADDRESS.fullmatch(text) is None:
        raise InputError(f"--cluster '{text}' is no cluster; give {_FORMS}", code="CLUSTER")
    return partial(backend.at, text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_LOCAL:
        raise InputError(
            f"--cluster 'local:{text}': N must be a number from 1 to {_MOST_LOCAL}, for example"
            " local:4",
            code="CLUSTER",
        )
    return int(text)
