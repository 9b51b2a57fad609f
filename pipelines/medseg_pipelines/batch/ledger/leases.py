"""Who has which cases in hand, and who of them is no more.

No wall clock decides anything. A run of this machine's present boot is gone when its process is, or
when its heart has not beaten for the time of its lease by the monotonic clock that both share. Of a
run on another machine only this is known: whether its heart beats while we look.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from medseg_pipelines.batch.ledger.ledger import Ledger, Row, row_of
from medseg_pipelines.batch.ledger.run_config import RunConfig

Clock = Callable[[], float]
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Parameters
    ----------
    boot : str
        Of the machine, and of the space that its numbers are valid in; empty when not known.
    pid : int
    started : int
        When it started, in the system's own ticks; 0 when not known.
    """

    boot: str
    pid: int
    started: int

    @classmethod
    def own(cls) -> Process:
        """The one we are."""
        return cls(_boot(), os.getpid(), _started(os.getpid()))

    def is_gone(self) -> bool:
        """Whether it certainly ended; only to be asked of the same boot."""
        return bool(self.started) and _started(self.pid) != self.started


def _boot() -> str:
    """Random name that the machine has until it is switched off, and that of our process space."""
    try:
        name = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
    spaces = []
    for kind in ("pid", "time"):
        with suppress(OSError):
            spaces.append(str((_PROC / "self/ns" / kind).readlink()))
    return " ".join([name, *spaces])


def _started(pid: int) -> int:
    """Start of a process in ticks since boot; 0 when there is none, or the system does not tell.

    References
    ----------
    proc(5), /proc/pid/stat, field 22; the second field may hold spaces and parentheses.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text("ascii", "replace")
    except OSError:
        return 0
    state, *rest = text.rpartition(")")[2].split()
    return 0 if state in "ZX" else int(rest[18])


@dataclass
class _Seen:
    """What was seen of a run on another machine."""

    beats: int
    since: float
    last: float


@dataclass
class Watch:
    """Tells which runs are no more.

    Parameters
    ----------
    process : Process
    clock : callable
        Seconds that only grow, the same for all processes of a boot.
    """

    process: Process = field(default_factory=Process.own)
    clock: Clock = time.monotonic
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def gone(self, owners: Sequence[sqlite3.Row]) -> set[str]:
        """Those of some runs that are no more."""
        return {one["owner"] for one in owners if self._is_gone(one)}

    def _is_gone(self, owner: sqlite3.Row) -> bool:
        now = self.clock()
        if not self.process.boot or owner["boot"] != self.process.boot:
            return self._is_silent(owner, now)
        process = Process(owner["boot"], owner["pid"], owner["started"])
        return process.is_gone() or bool(now - owner["beat_at"] > owner["lease_s"])

    def _is_silent(self, owner: sqlite3.Row, now: float) -> bool:
        """Whether its heart stood still for as long as its lease while we looked again and again.

        Two looks that are far apart tell nothing of the time between: we may have slept.
        """
        before = self._seen.get(owner["owner"])
        blinked = before is not None and now - before.last > owner["lease_s"] / 2
        if before is None or blinked or before.beats != owner["beats"]:
            self._seen[owner["owner"]] = _Seen(owner["beats"], now, now)
            return False
        before.last = now
        return bool(now - before.since > owner["lease_s"])


class Leases:
    """The cases that one run has in hand.

    Parameters
    ----------
    ledger : Ledger
        Where they are written down.
    lease_s : float
        Others may take the cases when our heart has not beaten for so long.
    process : Process, optional
        Whose they are; ours when not given.
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        lease_s: float,
        process: Process | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.owner = uuid.uuid4().hex
        self._ledger, self._lease_s, self._clock = ledger, lease_s, clock
        self._process = process or Process.own()
        self._watch = Watch(self._process, clock)
        self._beats = 0

    def beat(self) -> set[str]:
        """Show that we live.

        Returns
        -------
        set of str
            The tokens that are still ours.
        """
        with self._ledger.writing() as db:
            self._beat(db)
            mine = db.execute(
                "SELECT token FROM cases WHERE owner = ? AND state = 'leased'", [self.owner]
            )
            return {token for (token,) in mine}

    def take(
        self, recipe: RunConfig, count: int, *, shard: tuple[int, int] | None = None
    ) -> list[Row]:
        """Lease waiting cases, those that may be dangerous last.

        Parameters
        ----------
        recipe : RunConfig
            Of this model with these settings.
        count : int
        shard : (int, int), optional
            ``(k, n)``: only those of the k-th of n shares.

        Returns
        -------
        list of Row
            Each with a token that nobody had before.
        """
        k, n = shard or (1, 1)
        waiting = (
            "SELECT \"case\" FROM cases WHERE model = ? AND settings = ? AND state = 'waiting'"
            " AND superseded_by = '' AND slot % ? = ? ORDER BY alone, rowid LIMIT ?"
        )
        leased = (
            "UPDATE cases SET state = 'leased', owner = ?, token = ?, started_at = ?"
            ' WHERE "case" = ?'
        )
        with self._ledger.writing() as db:
            self._beat(db)
            chosen = db.execute(waiting, [recipe.model, recipe.settings, n, k - 1, count])
            names = [name for (name,) in chosen]
            now = time.time()
            db.executemany(leased, [(self.owner, uuid.uuid4().hex, now, name) for name in names])
            return [_row(db, name) for name in names]

    def left(self, recipe: RunConfig, *, shard: tuple[int, int] | None = None) -> tuple[int, int]:
        """How many cases wait, and how many are in the hands of others.

        Parameters
        ----------
        recipe : RunConfig
            Of this model with these settings.
        shard : (int, int), optional
            ``(k, n)``: only those of the k-th of n shares.

        Returns
        -------
        waiting, leased : int
        """
        k, n = shard or (1, 1)
        sql = (
            "SELECT coalesce(sum(state = 'waiting'), 0),"
            " coalesce(sum(state = 'leased' AND owner != ?), 0) FROM cases"
            " WHERE model = ? AND settings = ? AND superseded_by = '' AND slot % ? = ?"
            " AND state IN ('waiting', 'leased')"
        )
        with self._ledger.reading() as db:
            values = [self.owner, recipe.model, recipe.settings, n, k - 1]
            waiting, leased = db.execute(sql, values).fetchone()
        return waiting, leased

    def give_back(self, tokens: Sequence[str] | None = None) -> list[str]:
        """Let cases wait again, as if they had not been taken.

        Parameters
        ----------
        tokens : sequence of str, optional
            Which; all that are ours when not given.

        Returns
        -------
        list of str
            The tokens that were ours, whose staging folders are to be removed.
        """
        with self._ledger.writing() as db:
            mine = db.execute(
                "SELECT token FROM cases WHERE owner = ? AND state = 'leased'", [self.owner]
            )
            back = [token for (token,) in mine if tokens is None or token in tokens]
            db.executemany(
                "UPDATE cases SET state = 'waiting' WHERE token = ?", [(one,) for one in back]
            )
        return back

    def end(self) -> None:
        """Give everything back and leave the ledger."""
        self.give_back()
        with self._ledger.writing() as db:
            db.execute("DELETE FROM owners WHERE owner = ?", [self.owner])

    def expired(self) -> list[Row]:
        """Cases in the hands of runs that are no more."""
        with self._ledger.reading() as db:
            owners = db.execute("SELECT * FROM owners WHERE owner != ?", [self.owner]).fetchall()
            gone = self._watch.gone(owners)
            known = {one["owner"] for one in owners} | {self.owner}
            leased = db.execute("SELECT * FROM cases WHERE state = 'leased'")
            return [
                row_of(one) for one in leased if one["owner"] in gone or one["owner"] not in known
            ]

    def forget_the_gone(self) -> None:
        """Remove the runs that are no more and have nothing in hand."""
        with self._ledger.writing() as db:
            owners = db.execute("SELECT * FROM owners WHERE owner != ?", [self.owner]).fetchall()
            db.executemany(
                "DELETE FROM owners WHERE owner = :owner AND NOT EXISTS"
                " (SELECT 1 FROM cases WHERE state = 'leased' AND cases.owner = :owner)",
                [{"owner": owner} for owner in self._watch.gone(owners)],
            )

    def _beat(self, db: sqlite3.Connection) -> None:
        self._beats += 1
        one = self._process
        db.execute(
            "INSERT INTO owners VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner) DO UPDATE SET"
            " beats = excluded.beats, beat_at = excluded.beat_at",
            [self.owner, one.boot, one.pid, one.started, self._lease_s, self._beats, self._clock()],
        )


def _row(db: sqlite3.Connection, case: str) -> Row:
    return row_of(db.execute('SELECT * FROM cases WHERE "case" = ?', [case]).fetchone())
