"""Every case of a batch, one after the other: an archive may hold a million."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medseg_pipelines.batch.ledger.ledger import Ledger, Row, row_of

_AT_ONCE = 2000
_PORTION = (
    "SELECT rowid AS number, * FROM cases WHERE rowid > ? AND (superseded_by = '' OR ?)"
    " ORDER BY rowid LIMIT ?"
)


class AllCases:
    """Cases in the order in which they were queued; they can be gone through again and again.

    They are read in portions, between which others may write: what changes meanwhile is seen
    before or after the change. Superseded ones are left out unless asked for.
    """

    def __init__(self, output: Path, *, superseded: bool = False) -> None:
        self._output, self._superseded = output, superseded

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        """Go through the cases, each with a number that stays its own."""
        last = 0
        with Ledger.of(self._output) as ledger:
            while True:
                with ledger.reading() as db:
                    portion = db.execute(_PORTION, [last, self._superseded, _AT_ONCE]).fetchall()
                for record in portion:
                    yield record["number"], row_of(record)
                if len(portion) < _AT_ONCE:
                    return
                last = portion[-1]["number"]
