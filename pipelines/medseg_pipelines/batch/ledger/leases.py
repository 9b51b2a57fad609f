"""The cases that the run has in flight; whatever is leased when it starts, a dead run left."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from medseg_pipelines.batch.ledger.ledger import Ledger, Row, row_of
from medseg_pipelines.batch.ledger.run_config import RunConfig
from medseg_pipelines.batch.ledger.run_lock import Shard


@dataclass(frozen=True)
class Leases:
    """Leases of the run that holds the lock of a share of the archive."""

    ledger: Ledger
    run_config: RunConfig
    shard: Shard = (1, 1)

    @property
    def owner(self) -> str:
        """Name of the share, as the ledger and the scratch folder have it."""
        return f"{self.shard[0]}-of-{self.shard[1]}"

    def take(self, count: int) -> list[Row]:
        """Lease waiting cases, each with a new token; those that may end a worker come last."""
        waiting = (
            "SELECT \"case\" FROM cases WHERE model = ? AND settings = ? AND state = 'waiting'"
            " AND superseded_by = '' AND slot % ? = ? ORDER BY alone, rowid LIMIT ?"
        )
        lease = (
            "UPDATE cases SET state = 'leased', owner = ?, token = ?, started_at = ?"
            ' WHERE "case" = ? RETURNING *'
        )
        with self.ledger.writing() as db:
            names = db.execute(waiting, [*self._key, count]).fetchall()
            now = time.time()
            return [
                row_of(db.execute(lease, [self.owner, uuid.uuid4().hex, now, name]).fetchone())
                for (name,) in names
            ]

    def waiting(self) -> int:
        """How many cases wait."""
        sql = (
            "SELECT count(*) FROM cases WHERE model = ? AND settings = ? AND state = 'waiting'"
            " AND superseded_by = '' AND slot % ? = ?"
        )
        with self.ledger.reading() as db:
            return int(db.execute(sql, self._key).fetchone()[0])

    def orphaned(self) -> list[Row]:
        """Cases that a run which is no more had leased, with whichever model and settings."""
        k, n = self.shard
        with self.ledger.reading() as db:
            sql = "SELECT * FROM cases WHERE state = 'leased' AND slot % ? = ?"
            return [row_of(record) for record in db.execute(sql, [n, k - 1])]

    def give_back(self, tokens: Sequence[str]) -> None:
        """Let cases wait again, as if they had not been taken."""
        sql = "UPDATE cases SET state = 'waiting' WHERE token = ? AND state = 'leased'"
        with self.ledger.writing() as db:
            db.executemany(sql, [(token,) for token in tokens])

    def give_back_all(self) -> None:
        """The same with every case of the share that is leased."""
        self.give_back([row.token for row in self.orphaned()])

    @property
    def _key(self) -> list[str | int]:
        k, n = self.shard
        return [self.run_config.model, self.run_config.settings, n, k - 1]
