"""Scans of the archive into the ledger: what is new, what changed, what is left as it is."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from medseg_pipelines.batch.events import Planned
from medseg_pipelines.batch.ledger.ledger import Ledger
from medseg_pipelines.batch.ledger.run_config import RunConfig
from medseg_pipelines.batch.messages import Fault, ScanRecord, State

Action = Literal["new", "again", "left", "kept", "elsewhere", "refused", "failed"]
FEW_SLICES = "FEW_SLICES"
RULE = "RULE"
_CHOICES = {RULE, FEW_SLICES}
_AT_ONCE = 500  # keys in one query
_QUEUED = """
INSERT INTO cases ("case", key, model, settings, lineage, folder, slot, signature, found, state,
  code, message, chosen, min_slices, queued_at)
VALUES (:case, :key, :model, :settings, :lineage, :folder, :slot, :signature, :found, :state,
  :code, :message, :chosen, :min_slices, :now)
ON CONFLICT ("case") DO UPDATE SET lineage = :lineage, folder = :folder, signature = :signature,
  found = :found, state = :state, code = :code, message = :message, chosen = :chosen,
  min_slices = :min_slices, attempts = 0, superseded_by = '', queued_at = :now,
  content = CASE WHEN :anew OR superseded_by != '' THEN '' ELSE content END
"""
_OUTDATED = """
UPDATE cases SET superseded_by = :case WHERE lineage = :lineage AND model = :model
  AND settings = :settings AND "case" != :case AND superseded_by = ''
  AND state IN ('waiting', 'refused', 'failed') AND code != 'PART_OF_ANOTHER'
"""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of a scan.

    Parameters
    ----------
    found : ScanRecord
    case : str
    action : {"new", "again", "left", "kept", "elsewhere", "refused", "failed"}
    fault : Fault or None
        Why it is not tried.
    recorded : bool
        Whether the ledger says all of this already.
    """

    found: ScanRecord
    case: str
    action: Action
    fault: Fault | None = None
    recorded: bool = False


class _Known(msgspec.Struct, frozen=True):
    """What the ledger knows of a scan."""

    state: State
    signature: str
    code: str
    message: str
    chosen: int
    min_slices: int
    superseded: int

    def fault(self) -> Fault:
        return Fault(code=self.code, message=self.message)


class Queue:
    """The rows of one recipe, as scans come to them.

    Parameters
    ----------
    ledger : Ledger
    recipe : RunConfig
    min_slices : int
        Fewest slices that are asked for.
    anew : bool
        Whether finished cases are done again.
    in_place : callable
        Whether there are results in a folder; somebody may have removed them.
    """

    def __init__(
        self,
        ledger: Ledger,
        recipe: RunConfig,
        *,
        min_slices: int,
        anew: bool,
        in_place: Callable[[str], bool],
    ) -> None:
        self._ledger, self._recipe = ledger, recipe
        self._min_slices, self._anew, self._in_place = min_slices, anew, in_place

    def enqueue(self, scans: Sequence[tuple[ScanRecord, Fault | None]]) -> list[Verdict]:
        """Write down what is to be done, in one transaction.

        Parameters
        ----------
        scans : sequence of (Found, Fault or None)
            With why each is not wanted.

        Returns
        -------
        list of Verdict
            One for each.
        """
        with self._ledger.writing() as db:
            verdicts = self._judge(db, scans)
            news = [self._record(one) for one in verdicts if not one.recorded]
            db.executemany(_QUEUED, news)
            db.executemany(_OUTDATED, [one for one in news if one["code"] != _PART.code])
        return verdicts

    def preview(self, scans: Sequence[tuple[ScanRecord, Fault | None]]) -> list[Verdict]:
        """What `enqueue` would return of these scans; nothing is written."""
        with self._ledger.reading() as db:
            return self._judge(db, scans)

    def _judge(
        self, db: sqlite3.Connection, scans: Sequence[tuple[ScanRecord, Fault | None]]
    ) -> list[Verdict]:
        known = self._known(db, [found.key for found, _ in scans])
        return [self._verdict(found, fault, known.get(found.key)) for found, fault in scans]

    def _known(self, db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, _Known]:
        """What the ledger knows, by key."""
        known = {}
        for some in _portions(keys):
            sql = (
                "SELECT key, state, signature, code, message, chosen, min_slices,"  # noqa: S608
                " superseded_by != '' FROM cases WHERE model = ? AND settings = ?"
                f" AND key IN ({', '.join('?' * len(some))})"
            )
            for key, *rest in db.execute(sql, [self._recipe.model, self._recipe.settings, *some]):
                known[key] = _Known(*rest)
        return known

    def _verdict(self, found: ScanRecord, fault: Fault | None, known: _Known | None) -> Verdict:
        case = self._recipe.case(found.key)
        action, why, recorded = self._action(found, fault, known)
        return Verdict(found=found, case=case, action=action, fault=why, recorded=recorded)

    def _action(
        self, found: ScanRecord, fault: Fault | None, known: _Known | None
    ) -> tuple[Action, Fault | None, bool]:
        """What is to be done, why not, and whether the ledger says so already."""
        if known is None:
            return ("refused", fault, False) if fault else ("new", None, False)
        if known.state == "leased":
            return "elsewhere", None, True
        if known.superseded:
            return ("refused", fault, known.state == "done") if fault else ("again", None, False)
        if known.state == "done":
            return self._when_done(found, fault, known)
        if fault:
            return "refused", fault, _says(known, fault, found)
        return self._when_not_done(found, known)

    def _when_done(
        self, found: ScanRecord, fault: Fault | None, known: _Known
    ) -> tuple[Action, Fault | None, bool]:
        """A result is in place: it stays when nothing changed, or when it is not wanted now."""
        unwanted = fault is not None and fault.code in _CHOICES
        if unwanted:
            return "kept", None, True
        same = found.signature == known.signature and not self._anew
        same = same and self._in_place(found.folder)
        return ("kept" if same else "again"), None, same

    def _when_not_done(self, found: ScanRecord, known: _Known) -> tuple[Action, Fault | None, bool]:
        """Wanted, and waiting, refused or failed before."""
        same = found.signature == known.signature
        if known.state == "waiting":
            return "left", None, same
        if not known.chosen:
            return "new", None, False
        now_enough = known.code == FEW_SLICES and self._min_slices < known.min_slices
        if self._anew or not same or now_enough:
            return "again", None, False
        return ("failed" if known.state == "failed" else "refused"), known.fault(), True

    def _record(self, verdict: Verdict) -> dict[str, Any]:
        """Values for SQL."""
        found, fault = verdict.found, verdict.fault
        return {
            "case": verdict.case,
            "key": found.key,
            "model": self._recipe.model,
            "settings": self._recipe.settings,
            "lineage": found.lineage,
            "folder": found.folder,
            "slot": slot(found),
            "signature": found.signature,
            "found": msgspec.json.encode(found).decode(),
            "state": "refused" if fault else "waiting",
            "code": fault.code if fault else "",
            "message": fault.message if fault else "",
            "chosen": fault is None,
            "min_slices": self._min_slices,
            "now": time.time(),
            "anew": self._anew or not self._in_place(found.folder),
        }


def planned(verdicts: Iterable[Verdict]) -> Planned:
    """How many scans there are of each kind."""
    actions: Counter[str] = Counter()
    codes: dict[str, Counter[str]] = {"refused": Counter(), "failed": Counter()}
    for one in verdicts:
        actions[one.action] += 1
        if one.fault is not None:
            codes[one.action][one.fault.code] += 1
    counts = {name: actions[name] for name in ("new", "again", "left", "kept", "elsewhere")}
    named = {name: dict(counted.most_common()) for name, counted in codes.items()}
    return Planned(
        found=actions.total(), refused=named["refused"], failed=named["failed"], **counts
    )


def slot(found: ScanRecord) -> int:
    """A number that all states of a scan have in common, to share out an archive by."""
    return zlib.crc32(found.lineage.encode())


def once_each(
    scans: Iterable[tuple[ScanRecord, Fault | None]],
) -> list[tuple[ScanRecord, Fault | None]]:
    """Each scan once, and of several states of one scan the largest; the others are refused.

    The same files may lie in an archive twice, and in a zip archive besides, some of them missing.

    Parameters
    ----------
    scans : iterable of (Found, Fault or None)
        As the search and the rules say.

    Returns
    -------
    list of (Found, Fault or None)
        In the same order.
    """
    by_key: dict[str, tuple[ScanRecord, Fault | None]] = {}
    for found, fault in scans:
        by_key.setdefault(found.key, (found, fault))
    largest: dict[str, ScanRecord] = {}
    for found, _ in by_key.values():
        other = largest.get(found.lineage)
        if other is None or (other.files, other.key) < (found.files, found.key):
            largest[found.lineage] = found
    return [
        (found, fault if largest[found.lineage].key == found.key else _PART)
        for found, fault in by_key.values()
    ]


_PART = Fault(
    code="PART_OF_ANOTHER",
    message="the archive holds this series again with other slices, and more of them; that one is"
    " taken",
)


def _says(known: _Known, fault: Fault, found: ScanRecord) -> bool:
    """Whether a row is refused for this reason already."""
    same = known.signature == found.signature and known.fault() == fault
    return known.state == "refused" and not known.chosen and same


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
