"""Scans of the archive into the ledger: what is new, what changed, what is left as it is."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from medseg_pipelines.batch.events import Planned
from medseg_pipelines.batch.ledger.ledger import Ledger, RunConfig
from medseg_pipelines.batch.messages import Fault, ScanRecord, State

Action = Literal["new", "again", "left", "kept", "refused", "failed"]
FEW_SLICES = "FEW_SLICES"
RULE = "RULE"
JudgedScan = tuple[ScanRecord, Fault | None]
"""A scan, and why it is not wanted."""

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
    """What is to become of a scan."""

    scan: ScanRecord
    case: str
    action: Action
    fault: Fault | None = None  # why it is not tried
    recorded: bool = False  # whether the ledger says all of this already


class _Entry(msgspec.Struct, frozen=True):
    """What the ledger has of a scan."""

    state: State
    signature: str
    code: str
    message: str
    selected: int
    min_slices: int
    superseded: int


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The cases of one model with one set of settings, as scans come to them."""

    ledger: Ledger
    run_config: RunConfig
    min_slices: int
    anew: bool  # whether finished cases are done again
    in_place: Callable[[str], bool]  # whether a folder has results; somebody may have removed them

    def enqueue(self, scans: Sequence[JudgedScan]) -> list[Verdict]:
        """Write down what is to be done, in one transaction."""
        with self.ledger.writing() as db:
            verdicts = self._judge(db, scans)
            changed = [self._values(verdict) for verdict in verdicts if not verdict.recorded]
            db.executemany(_QUEUED, changed)
            db.executemany(_OUTDATED, [row for row in changed if row["code"] != _PART.code])
        return verdicts

    def preview(self, scans: Sequence[JudgedScan]) -> list[Verdict]:
        """What `enqueue` would return of these scans; nothing is written."""
        with self.ledger.reading() as db:
            return self._judge(db, scans)

    def _judge(self, db: sqlite3.Connection, scans: Sequence[JudgedScan]) -> list[Verdict]:
        verdicts = []
        for start in range(0, len(scans), _AT_ONCE):
            some = scans[start : start + _AT_ONCE]
            keys = [scan.key for scan, _ in some]
            sql = (
                "SELECT key, state, signature, code, message, chosen, min_slices,"  # noqa: S608
                " superseded_by != '' FROM cases WHERE model = ? AND settings = ?"
                f" AND key IN ({', '.join('?' * len(keys))})"
            )
            values = [self.run_config.model, self.run_config.settings, *keys]
            entries = {key: _Entry(*rest) for key, *rest in db.execute(sql, values)}
            for scan, fault in some:
                entry = entries.get(scan.key)
                action, why, recorded = self._action(scan, fault, entry)
                case = self.run_config.case(scan.key)
                verdicts.append(
                    Verdict(scan=scan, case=case, action=action, fault=why, recorded=recorded)
                )
        return verdicts

    def _action(
        self, scan: ScanRecord, fault: Fault | None, entry: _Entry | None
    ) -> tuple[Action, Fault | None, bool]:
        """What is to be done, why not, and whether the ledger says so already."""
        if entry is None:
            return ("refused", fault, False) if fault else ("new", None, False)
        if entry.state == "leased":  # only a dry run sees that, beside a run at work
            return "left", None, True
        if entry.superseded:
            return ("refused", fault, entry.state == "done") if fault else ("again", None, False)
        if entry.state == "done":
            return self._when_done(scan, fault, entry)
        return self._when_not_done(scan, fault, entry)

    def _when_done(
        self, scan: ScanRecord, fault: Fault | None, entry: _Entry
    ) -> tuple[Action, Fault | None, bool]:
        """A result is in place: it stays when nothing changed, or when it is not wanted now."""
        if fault is not None and fault.code in (RULE, FEW_SLICES):
            return "kept", None, True
        same = scan.signature == entry.signature and not self.anew and self.in_place(scan.folder)
        return ("kept" if same else "again"), None, same

    def _when_not_done(
        self, scan: ScanRecord, fault: Fault | None, entry: _Entry
    ) -> tuple[Action, Fault | None, bool]:
        """Waiting, refused or failed before."""
        same = scan.signature == entry.signature
        before = Fault(code=entry.code, message=entry.message)
        if fault:
            was_refused = entry.state == "refused" and not entry.selected
            return "refused", fault, was_refused and same and fault == before
        if entry.state == "waiting":
            return "left", None, same
        if not entry.selected:
            return "new", None, False
        now_enough = entry.code == FEW_SLICES and self.min_slices < entry.min_slices
        if self.anew or not same or now_enough:
            return "again", None, False
        return ("failed" if entry.state == "failed" else "refused"), before, True

    def _values(self, verdict: Verdict) -> dict[str, Any]:
        """Values for SQL."""
        scan, fault = verdict.scan, verdict.fault
        same = {name: getattr(scan, name) for name in ("key", "lineage", "folder", "signature")}
        return same | {
            "case": verdict.case,
            "model": self.run_config.model,
            "settings": self.run_config.settings,
            "slot": slot(scan),
            "found": msgspec.json.encode(scan).decode(),
            "state": "refused" if fault else "waiting",
            "code": fault.code if fault else "",
            "message": fault.message if fault else "",
            "chosen": fault is None,
            "min_slices": self.min_slices,
            "now": time.time(),
            "anew": self.anew or not self.in_place(scan.folder),
        }


def planned(verdicts: Iterable[Verdict]) -> Planned:
    """How many scans there are of each kind."""
    actions: Counter[str] = Counter()
    codes: dict[str, Counter[str]] = {"refused": Counter(), "failed": Counter()}
    for verdict in verdicts:
        actions[verdict.action] += 1
        if verdict.fault is not None:
            codes[verdict.action][verdict.fault.code] += 1
    return Planned(
        scans=actions.total(),
        **{name: actions[name] for name in ("new", "again", "left", "kept")},
        refused=dict(codes["refused"].most_common()),
        failed=dict(codes["failed"].most_common()),
    )


def slot(scan: ScanRecord) -> int:
    """A number that all states of a scan have in common, to share out an archive by."""
    return zlib.crc32(scan.lineage.encode())


def once_each(scans: Iterable[JudgedScan]) -> list[JudgedScan]:
    """Each scan once, and of several states of one scan the largest; the others are refused.

    The same files may lie in an archive twice, and in a zip archive besides, some of them missing.
    """
    by_key: dict[str, JudgedScan] = {}
    for scan, fault in scans:
        by_key.setdefault(scan.key, (scan, fault))
    largest: dict[str, ScanRecord] = {}
    for scan, _ in by_key.values():
        other = largest.setdefault(scan.lineage, scan)
        largest[scan.lineage] = max(scan, other, key=lambda state: (state.files, state.key))
    return [
        (scan, fault if largest[scan.lineage] is scan else _PART) for scan, fault in by_key.values()
    ]


_PART = Fault(
    code="PART_OF_ANOTHER",
    message="the archive holds this series again with other slices, and more of them; that one is"
    " taken",
)
