"""Results become visible: one rename, and what was there before stays beside it.

Everything here is called inside a transaction of the ledger, so that no two shares do it at once.
A run that dies between two steps leaves what the next one can finish or undo; see `commit.recover`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from medseg.writing import flush_to_disk
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.provenance import (
    CaseRecord,
    Superseded,
    read_record,
    write_record,
)

_UNKNOWN = "unknown"


def publish(places: Places, record: CaseRecord) -> None:
    """Give results, which lie whole in the staging folder of their token, their final place."""
    staged, final = places.staged(record.token), places.final(record.folder)
    if final.exists():
        _set_aside(places, record)
    final.parent.mkdir(parents=True, exist_ok=True)
    os.rename(staged, final)  # noqa: PTH104 - the atomic call, by its name
    _sync_up(final.parent, places.output)
    flush_to_disk(places.staging)


def withdraw(places: Places, folder: str) -> None:
    """Take results, if there are any, from their final place: what they were made of is gone."""
    final = places.final(folder)
    if final.exists():
        os.rename(final, places.former(folder, _case_in(final)))  # noqa: PTH104
        flush_to_disk(final.parent)


def discard(places: Places, tokens: Iterable[str]) -> None:
    """Remove the staging folders, and the marks beside them, of leases that have ended."""
    for token in filter(None, tokens):
        shutil.rmtree(places.staged(token), ignore_errors=True)
        for mark in places.staging.glob(f"{token}.*"):
            with suppress(OSError):
                mark.unlink()


def _set_aside(places: Places, record: CaseRecord) -> None:
    """Move what is in the final place beside it, once the new results tell of it."""
    final = places.final(record.folder)
    aside = places.former(record.folder, _case_in(final))
    former = read_record(final)
    superseded = Superseded(
        case=former.case if former else _UNKNOWN,
        content=former.source.content if former else "",
        folder=aside.name,
    )
    updated = msgspec.structs.replace(record, supersedes=superseded)
    write_record(places.staged(record.token), updated)
    os.rename(final, aside)  # noqa: PTH104


def _case_in(folder: Path) -> str:
    record = read_record(folder)
    return record.case if record else _UNKNOWN


def _sync_up(folder: Path, root: Path) -> None:
    """Push the names in a folder, and in those above it up to the root, to the disk."""
    while folder != root:
        flush_to_disk(folder)
        folder = folder.parent
    flush_to_disk(root)
