"""The same work on many things at once, with progress and cancel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from medseg.runtime.processor import core_count
from medseg.runtime.progress import Progress, silent

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_AT_ONCE = 4
"""Scans in memory at the same time: more would wait for the disk."""
_ASKED_EVERY_S = 0.2


def in_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    message: str,
    progress: Progress = silent,
) -> list[Result]:
    """Results of `work`, in the order of `items`; the first error that is met is raised.

    Parameters
    ----------
    work : callable
        Run in threads, so reading, unzipping and numpy's loops are what goes faster.
    items : sequence
    message : str
        For `progress`.
    progress : Progress, optional
        Called from this thread as often as something is done, and in between; may raise
        `Cancelled`, which ends the work after what is being done.
    """
    with ThreadPoolExecutor(min(core_count(), MOST_AT_ONCE), "medseg-parallel") as pool:
        futures = [pool.submit(work, item) for item in items]
        waiting: set[Future[Result]] = set(futures)
        try:
            while waiting:
                progress(len(items) - len(waiting), len(items), message)
                done, waiting = wait(waiting, _ASKED_EVERY_S, FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
