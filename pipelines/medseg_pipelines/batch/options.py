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
    """How to go through an archive."""

    settings: Settings = field(default_factory=Settings)
    rules: Rules | None = None  # which scans are wanted; all when None
    min_slices: int = 4  # scans with fewer (scouts) are refused; 1 takes pictures too
    device: str = "auto"
    workers: int = 1  # processes on this machine; on several GPUs each takes the next one
    attempts: int = 3  # how often a case may fail before it is left
    heartbeat_timeout_s: float = 60.0  # a worker that gives no sign of life for so long is ended
    stall_timeout_s: float = 3600.0  # so is one in which no case gets further for so long
    disk_wait_s: float = 900.0  # how long a full disk is waited for
    memory_gb: float | None = None  # most memory of a worker, where the system can limit it
    shard: tuple[int, int] = (1, 1)  # (k, n), from 1: only the k-th of n shares of the archive
    only: Literal["new", "all"] = "new"  # whether finished cases are computed again
    dry_run: bool = False
    # Digests in place of the archive's own names for results, and no word in tables and the report
    # of where scans lie. De-identified results are always called so.
    anonymous_names: bool = False
    # Makes the workers, when there is something to do; a `LocalPool` when None.
    pool: Callable[[], WorkerPool] | None = None
