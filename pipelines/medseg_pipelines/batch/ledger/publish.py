"""Results become visible, and what was there before stays beside them.

A folder of results takes one rename, files beside those of others one each, case.json the last.

Everything here is called inside a transaction of the ledger, so that no two shares do it at once.
A run that dies between two steps leaves what the next one can finish or undo; see `commit.recover`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from medseg.writing import flush_to_disk
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.provenance import (
    CaseRecord,
    Superseded,
    file_digest,
    file_digests,
    record_in,
    write_record,
)
from medseg_pipelines.batch.result_files import BESIDE, CASE_FILE

_UNKNOWN = "unknown"


def publish(places: Places, record: CaseRecord) -> None:
    """Give results, which lie in the staging folder of their token, their final place."""
    if record.folder.endswith(BESIDE):
        _publish_files(places, record)
    else:
        _publish_folder(places, record)
    flush_to_disk(places.staging)


def withdraw(places: Places, folder: str) -> None:
    """Take results, if there are any, from their final place: what they were made of is gone."""
    files = places.files(folder)
    if files:
        _move(places, files, folder, places.former(folder, _case_in(places, folder)))


def is_complete(places: Places, record: CaseRecord) -> bool:
    """Whether results are whole, in staging or, as far as they were moved, in their place."""
    try:
        there = file_digests(places.staged(record.token))
        if record.folder.endswith(BESIDE):
            for name in record.files.keys() - there.keys():
                there[name] = file_digest(places.file(record.folder, name))
    except OSError:
        return False
    return there == record.files


def discard(places: Places, tokens: Iterable[str]) -> None:
    """Remove the staging folders, and the marks beside them, of leases that have ended."""
    for token in filter(None, tokens):
        shutil.rmtree(places.staged(token), ignore_errors=True)
        for mark in places.staging.glob(f"{token}.*"):
            with suppress(OSError):
                mark.unlink()


def _publish_folder(places: Places, record: CaseRecord) -> None:
    """In one rename."""
    staged, final = places.staged(record.token), places.final(record.folder)
    if final.exists():
        _set_aside(places, record, {"": final})
    final.parent.mkdir(parents=True, exist_ok=True)
    os.rename(staged, final)  # noqa: PTH104 - the atomic call, by its name
    _sync_up(final.parent, places.output)


def _publish_files(places: Places, record: CaseRecord) -> None:
    """One by one, case.json last; what a run that died had moved already stays."""
    staged = places.staged(record.token)
    new = {*record.files, CASE_FILE}
    waiting = {path.name for path in staged.iterdir()}
    former = places.files(record.folder)
    if aside := {name: former[name] for name in former if name in waiting or name not in new}:
        _set_aside(places, record, aside)
    folder = places.final(record.folder).parent
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*record.files, CASE_FILE):
        if name in waiting:
            os.rename(staged / name, places.file(record.folder, name))  # noqa: PTH104
    _sync_up(folder, places.output)


def _set_aside(places: Places, record: CaseRecord, files: Mapping[str, Path]) -> None:
    """Move what is in the final place beside it, once the new results tell of it."""
    if record.supersedes and record.folder.endswith(BESIDE):  # a run died while it did this
        above = record.folder.rpartition("/")
        _move(places, files, record.folder, f"{above[0]}{above[1]}{record.supersedes.folder}")
        return
    former = record_in(places.file(record.folder, CASE_FILE))
    case = former.case if former else _UNKNOWN
    aside = places.former(record.folder, case)
    superseded = Superseded(
        case=case,
        content=former.source.content if former else "",
        folder=aside.rpartition("/")[2],
    )
    updated = msgspec.structs.replace(record, supersedes=superseded)
    write_record(places.staged(record.token), updated)
    _move(places, files, record.folder, aside)


def _move(places: Places, files: Mapping[str, Path], folder: str, aside: str) -> None:
    """Move results to another place beside theirs."""
    if folder.endswith(BESIDE):
        for name, path in files.items():
            os.rename(path, places.file(aside, name))  # noqa: PTH104
    else:
        os.rename(places.final(folder), places.final(aside))  # noqa: PTH104
    flush_to_disk(places.final(folder).parent)


def _case_in(places: Places, folder: str) -> str:
    record = record_in(places.file(folder, CASE_FILE))
    return record.case if record else _UNKNOWN


def _sync_up(folder: Path, root: Path) -> None:
    """Push the names in a folder, and in those above it up to the root, to the disk."""
    while folder != root:
        flush_to_disk(folder)
        folder = folder.parent
    flush_to_disk(root)
