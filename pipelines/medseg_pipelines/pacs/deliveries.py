"""What is to be sent, what was, and what was given up; kept with the state of the spool."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Literal

import msgspec

from medseg_pipelines.pacs.database import Register
from medseg_pipelines.pacs.validate import digest

DeliveryState = Literal["waiting", "delivered", "sent", "dead", "superseded"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One file for one peer.

    Parameters
    ----------
    delivery : str
        Its digest: the same file for the same peer is one delivery.
    series : str
    folder, file : str
        Where it lies, below the results of the series.
    content : str
        SHA-256 of the file.
    peer : str
    state : {"waiting", "delivered", "sent", "dead", "superseded"}
        ``sent`` went to a peer that cannot be asked; ``superseded`` became old before it went.
    sent : str
        ``binary`` when it was written in this encoding for the peer.
    supersedes : str
        The delivery that it takes the place of.
    at : float
        Time of the last change, seconds since 1970.
    attempts : int
    next_at : float
        When it is tried again.
    code, message : str
        Why it waits or is dead.
    """

    delivery: str
    series: str
    folder: str
    file: str
    content: str
    peer: str
    state: DeliveryState
    sent: str
    supersedes: str
    at: float
    attempts: int
    next_at: float
    code: str
    message: str


class Deliveries:
    """Table of deliveries."""

    def __init__(self, register: Register) -> None:
        self._register = register

    def add(self, path: Path, *, root: Path, series: str, peer: str) -> bool:
        """Note that a file is to be sent; older ones of its place become old.

        Parameters
        ----------
        path : Path
        root : Path
            Folder of the results of the series.
        series : str
        peer : str

        Returns
        -------
        bool
            False when it was noted before.
        """
        folder, file = path.parent.relative_to(root).as_posix(), path.name
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        name = digest("delivery", series, folder, file, content, peer)
        place = (series, folder, file, peer, name)
        same = "series = ? AND folder = ? AND file = ? AND peer = ? AND delivery != ?"
        with self._register.changing() as connection:
            before = connection.execute(
                f"SELECT delivery FROM deliveries WHERE {same} AND state IN ('delivered', 'sent')"  # noqa: S608
                " ORDER BY at DESC LIMIT 1",
                place,
            ).fetchone()
            added = connection.execute(
                "INSERT OR IGNORE INTO deliveries (delivery, series, folder, file, content, peer,"
                " supersedes, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    name,
                    series,
                    folder,
                    file,
                    content,
                    peer,
                    before[0] if before else "",
                    time.time(),
                ),
            )
            if added.rowcount:
                connection.execute(
                    f"UPDATE deliveries SET state = 'superseded' WHERE {same}"  # noqa: S608
                    " AND state IN ('waiting', 'dead')",
                    place,
                )
        return bool(added.rowcount)

    def rows(self, *states: DeliveryState) -> list[Delivery]:
        """Deliveries of some states, or all, in the order in which they were noted."""
        marks = ", ".join("?" * len(states))
        where = f"WHERE state IN ({marks})" if states else ""
        query = f"SELECT * FROM deliveries {where} ORDER BY at, folder, file"  # noqa: S608
        return [msgspec.convert(row, type=Delivery) for row in self._register.rows(query, states)]

    def due(self) -> list[Delivery]:
        """Those whose time has come; a SEG before what refers to it."""
        now = time.time()
        waiting = [one for one in self.rows("waiting") if one.next_at <= now]
        return sorted(waiting, key=lambda one: (one.series, one.folder, one.file != "seg.dcm"))

    def settle(
        self,
        row: Delivery,
        state: DeliveryState,
        *,
        sent: str = "",
        code: str = "",
        message: str = "",
        attempts: int = 0,
        next_at: float = 0.0,
    ) -> None:
        """Set the state of a delivery that still waits."""
        with self._register.changing() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, sent = ?, code = ?, message = ?, attempts = ?,"
                " next_at = ?, at = ? WHERE delivery = ? AND state = 'waiting'",
                (state, sent, code, message, attempts, next_at, time.time(), row.delivery),
            )

    def requeue(self, row: Delivery) -> None:
        """Let a dead one wait again."""
        with self._register.changing() as connection:
            connection.execute(
                "UPDATE deliveries SET state = 'waiting', attempts = 0, next_at = 0, code = '',"
                " message = '' WHERE delivery = ? AND state = 'dead'",
                (row.delivery,),
            )
