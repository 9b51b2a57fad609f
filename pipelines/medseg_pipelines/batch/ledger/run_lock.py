"""One run on an output at a time: a lock that lasts as long as the process of the run.

With ``--shard K/N`` each share of the archive has a lock of its own, so that all shares may run
side by side on one output and one ledger: a case belongs to exactly one of them. Runs that divide
the archive differently would overlap, so they exclude one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from medseg.errors import InputError, WriteError
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.storage_errors import as_write_error

Shard = tuple[int, int]
"""K and N of ``--shard K/N``, from 1; (1, 1) is the whole archive."""


@contextmanager
def run_lock(places: Places, shard: Shard) -> Iterator[None]:
    """Hold an output, or one share of it, while the block runs.

    Raises `InputError`, code ``IN_USE``: another run is at work there, `WriteError` when the file
    system cannot lock files.
    """
    k, n = shard
    with as_write_error(places.output):
        own = _acquired(places.own / f"run-{k}-of-{n}.lock", places.output)
    try:
        # After our own lock, never before it: of two that start at once, one at least sees the
        # other. Locks of the same division are the other shares'.
        for path in places.own.glob("run-*.lock"):
            if not path.name.endswith(f"-of-{n}.lock"):
                _acquired(path, places.output).release()
        yield
    finally:
        own.release()


def _acquired(path: Path, output: Path) -> FileLock:
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:  # an OSError too, so it comes first
        raise InputError(
            f"another run is at work on '{output}'; wait until it ends or stop it (with --shard"
            " K/N several runs may share one output, each with another K of the same N)",
            code="IN_USE",
        ) from error
    except NotImplementedError as error:
        raise WriteError(
            f"the file system of '{output}' cannot lock files, so two runs could harm one another"
            " there; choose another output folder",
            code="NO_LOCKS",
        ) from error
    return lock
