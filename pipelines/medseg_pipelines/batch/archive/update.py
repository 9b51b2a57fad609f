"""The index brought up to date: only what came, changed or went is read."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress

from medseg.runtime.progress import Progress
from medseg_pipelines.batch.archive.headers import CannotOpen, Reader, faulty, folders_of
from medseg_pipelines.batch.archive.index import Index, Row, Unit, listing_of
from medseg_pipelines.batch.archive.rules import Rules
from medseg_pipelines.batch.archive.walk import Entry, Tree, joined

_MOST_HEADERS = 10_000
_COMMIT_EVERY_S = 2.0


def bring_up_to_date(index: Index, tree: Tree, rules: Rules, progress: Progress) -> None:
    """Make an index know what a tree holds, with answers to the rules for all that is read."""
    try:
        _Update(index, tree, rules, progress).run()
    finally:
        with suppress(sqlite3.Error):  # says so itself where that matters
            index.commit()


def units_with_answers(
    index: Index, tree: Tree, rules: Rules, progress: Progress
) -> dict[str, Unit]:
    """All that an index knows; of a series that was never asked a question, one file is read."""
    units, asked, reader = dict(index.units()), set(rules.questions), Reader(tree, rules)
    unanswered = [
        unit
        for unit, content in units.items()
        if any(asked - part.scan.answers.keys() for part in content.parts)
    ]
    for done, unit in enumerate(unanswered, start=1):
        with suppress(CannotOpen):
            units[unit] = reader.with_answers(unit, units[unit], index.files_of(unit))
            index.put_unit(unit, index.listing_of(unit), units[unit])
        progress(done, len(unanswered), "asking headers")
    index.commit()
    return units


class _Update:
    """One pass over all that differs."""

    def __init__(self, index: Index, tree: Tree, rules: Rules, progress: Progress) -> None:
        self._index, self._tree, self._progress = index, tree, progress
        self._reader = Reader(tree, rules)
        self._touched: set[str] = set()
        self._again: set[bytes] = set()  # folders that the next search has to look through
        self._committed_at = time.monotonic()

    def run(self) -> None:
        """Read what differs and take it down."""
        tree, before = self._tree, self._index.folders()
        gone = {path for path in before.keys() - tree.folders.keys() if not tree.is_closed(path)}
        changed = sorted(
            path for path, (digest, _) in tree.folders.items() if before.get(path) != digest
        )
        total = sum(tree.folders[folder][1] for folder in changed)
        done = 0
        for folder in (*gone, *changed):
            for entry in self._fresh(folder):
                self._take(folder, entry)
                done += 1
                self._progress(done, max(done, total), "reading headers")
        for unit in sorted(self._touched - {""}):
            self._build(unit)
        for folder in self._again:
            self._index.open_folder(folder)
        self._index.put_folders(
            (folder, tree.folders[folder][0]) for folder in changed if folder not in self._again
        )
        for folder in gone:
            self._index.drop_folder(folder)

    def _fresh(self, folder: bytes) -> list[Entry]:
        """Files of a folder that are not known as they are; those that went are forgotten."""
        there = self._tree.look(folder)[0] if folder in self._tree.folders else []
        if self._tree.is_closed(folder):  # since a moment ago
            self._again.add(folder)
            return []
        self._reader.beside = {name for name, _, _ in there}
        before = self._index.files_in(folder)
        lost = {name for name, _, _ in before.keys() - set(there)}
        lost = {name for name in lost if joined(folder, name) not in self._tree.suspects}
        self._index.open_folder(folder, lost)
        self._touched.update(before.values())  # an interrupted search may have left some unread
        return [entry for entry in there if entry not in before]

    def _take(self, folder: bytes, entry: Entry) -> None:
        """Read a file's header, and take down what it belongs to."""
        try:
            unit = self._reader.unit_of(folder, entry[0])
        except CannotOpen as error:
            self._again.add(folder)
            if os.path.lexists(self._tree.path(folder, entry[0])):
                self._tree.mark_unreadable(folder, entry[0], error.fault)
            return
        self._index.put_file((folder, *entry, unit))
        self._touched.add(unit)
        while self._reader.held > _MOST_HEADERS:
            self._build(self._reader.oldest())
        if time.monotonic() - self._committed_at > _COMMIT_EVERY_S:
            self._index.commit()
            self._committed_at = time.monotonic()

    def _build(self, unit: str) -> None:
        """Take down what a unit holds, unless it was read from the same files."""
        rows = self._index.files_of(unit)
        if not rows:
            self._index.drop_unit(unit)
        elif listing_of(rows) != self._index.listing_of(unit):
            self._put(unit, rows)
        self._reader.forget(unit)

    def _put(self, unit: str, rows: Sequence[Row]) -> None:
        """Take down what a unit holds; what cannot be opened is tried again the next time."""
        listing = listing_of(rows)
        try:
            content = self._reader.content(unit, rows)
        except CannotOpen as error:
            content = Unit(parts=(faulty(rows[0], error.fault),), folders=folders_of(rows))
            self._again.update(row[0] for row in rows)
            listing = ""
        self._index.put_unit(unit, listing, content)
