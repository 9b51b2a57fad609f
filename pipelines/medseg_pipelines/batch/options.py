"""How to go through an archive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from medseg_pipelines.batch.messages import Settings

if TYPE_CHECKING:
    from medseg_pipelines.batch.archive.rules import Rules
    from medseg_pipelines.batch.workers.protocol import WorkerPool


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How to go through an archive.

    Parameters
    ----------
    settings : Settings
        What the results depend on.
    rules : Rules or None
        Which scans are wanted; all when None.
    min_slices : int
        Scans with fewer slices than this (scouts) are refused; 1 takes pictures too.
    device : str
    workers : int
        Processes on this machine; on several GPUs each takes the next one.
    attempts : int
        How often a case may fail before it is left.
    lease_s : float
        A worker, or another run, that gives no sign of life for this long has lost its cases.
    patience_s : float
        A case that gets no further for this long is given up and its worker ended.
    disk_wait_s : float
        How long a full disk is waited for.
    memory_gb : float or None
        Most memory of a worker, where the system can keep it to that.
    shard : (int, int) or None
        ``(k, n)``, from 1: only the k-th of n equal shares of the archive.
    only : {"new", "all"}
        Whether finished cases are left alone or computed again.
    dry_run : bool
        Whether to plan only.
    crew : callable or None
        Makes the workers, when there is something to do; a `LocalCrew` when None.
    """

    settings: Settings = field(default_factory=Settings)
    rules: Rules | None = None
    min_slices: int = 4
    device: str = "auto"
    workers: int = 1
    attempts: int = 3
    lease_s: float = 60.0
    patience_s: float = 3600.0
    disk_wait_s: float = 900.0
    memory_gb: float | None = None
    shard: tuple[int, int] | None = None
    only: Literal["new", "all"] = "new"
    dry_run: bool = False
    crew: Callable[[], WorkerPool] | None = None
