"""What a dead run left: finished where it was nearly done, undone where it was not."""

from __future__ import annotations

from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.commit import Committer
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.leases import Leases
from medseg_pipelines.batch.ledger.ledger import Row
from medseg_pipelines.batch.ledger.provenance import CaseRecord, is_whole, read_record
from medseg_pipelines.batch.messages import Result


def recover(committer: Committer, leases: Leases) -> list[Row]:
    """Take up the cases of a dead run, and remove its unfinished files.

    A case whose results are whole, in their place or not yet, is done; another waits again.
    Returns the cases that turned out to be done.
    """
    adopted = []
    for row in leases.orphaned():
        record = _whole_results(committer.places, row)
        if record is None:
            leases.give_back([row.token])
        elif settled := committer.settle(_result_of(record)):
            adopted.append(settled)
    _remove_strays(committer)
    return adopted


def _whole_results(places: Places, row: Row) -> CaseRecord | None:
    """The record of whole results of a lease."""
    final = read_record(places.final(row.folder))
    if final is not None and final.token == row.token:
        return final
    staged = places.staged(row.token)
    record = read_record(staged)
    if record is None or (record.case, record.token) != (row.case, row.token):
        return None
    return record if is_whole(staged, record) else None


def _result_of(record: CaseRecord) -> Result:
    return Result(
        case=record.case,
        token=record.token,
        state="done",
        content=record.source.content,
        volumes_ml=record.volumes_ml,
        warnings=record.warnings,
        seconds=record.seconds,
    )


def _remove_strays(committer: Committer) -> None:
    """Remove what belongs to no lease; other shares may be at work on theirs."""
    # Listed before the ledger is asked: what is staged after that is not touched.
    staged = {path.name.partition(".")[0] for path in committer.places.staging.iterdir()}
    with committer.ledger.reading() as db:
        leased = db.execute("SELECT token FROM cases WHERE state = 'leased'").fetchall()
    publish.discard(committer.places, staged - {token for (token,) in leased})
