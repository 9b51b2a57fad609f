"""What runs left behind that died: finished where it was nearly done, undone where it was not."""

from __future__ import annotations

import shutil
from pathlib import Path

from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.commit import Committer
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.leases import Leases
from medseg_pipelines.batch.ledger.ledger import Ledger, Row
from medseg_pipelines.batch.ledger.provenance import CaseRecord, is_whole, read_record


def repair(settlement: Committer, leases: Leases) -> list[Row]:
    """Take the cases out of the hands of runs that are no more, and clear away after them.

    A case whose results are whole, in their place or not yet, is done; another waits again.

    Parameters
    ----------
    settlement : Committer
    leases : Leases
        Ours; it knows which runs are no more.

    Returns
    -------
    list of Row
        Cases that were done and not known to be.
    """
    adopted = []
    for row in leases.expired():
        record = _left_by(settlement.places, row)
        settled = settlement.adopt(record) if record else None
        if settled is None:
            _let_wait(settlement.ledger, row)
        else:
            adopted.append(settled)
    leases.forget_the_gone()
    _clear(settlement.places, settlement.ledger)
    return adopted


def _left_by(places: Places, row: Row) -> CaseRecord | None:
    """The record of whole results of a lease."""
    final = read_record(places.final(row.folder))
    if final is not None and final.token == row.token:
        return final
    staged = places.staged(row.token)
    record = read_record(staged)
    if record is None or (record.case, record.token) != (row.case, row.token):
        return None
    return record if is_whole(staged, record) else None


def _let_wait(ledger: Ledger, row: Row) -> None:
    with ledger.writing() as db:
        db.execute(
            "UPDATE cases SET state = 'waiting' WHERE \"case\" = ? AND token = ?"
            " AND state = 'leased'",
            [row.case, row.token],
        )


def _clear(places: Places, ledger: Ledger) -> None:
    """Remove what belongs to no lease and no run; what comes after we looked is not touched."""
    staged = {name.partition(".")[0] for name in _names(places.staging)}
    scratch = _names(places.scratch)
    with ledger.reading() as db:
        leased = db.execute("SELECT token FROM cases WHERE state = 'leased'").fetchall()
        owners = db.execute("SELECT owner FROM owners").fetchall()
    publish.discard(places, staged - {token for (token,) in leased})
    for name in scratch - {owner for (owner,) in owners}:
        shutil.rmtree(places.scratch / name, ignore_errors=True)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
