"""What the ledger says, for a person at a screen: how a batch stands, and all about one case.

Where scans lie in the archive may tell who the patients are, so it is shown only on request.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from medseg.errors import InputError
from medseg_pipelines.batch.ledger.layout import CASE_FILE, Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row
from medseg_pipelines.batch.messages import State
from medseg_pipelines.batch.reports.cases import AllCases
from medseg_pipelines.batch.reports.summary import utc
from medseg_pipelines.console import Console

SHORT = 12
"""Digits of a case's name that are shown; `explain` takes any beginning."""

_MOST_IN_HAND = 20
_MOST_MEANT = 10
_COMMAND = "command.txt"


def show_status(
    output: Path,
    *,
    cases: bool = False,
    paths: bool = False,
    as_json: bool = False,
    console: Console,
) -> None:
    """Show how a batch stands.

    Parameters
    ----------
    output : Path
    cases : bool, default False
        Whether to list every case.
    paths : bool, default False
        Whether to list with it where the scan lies, and its series.
    as_json : bool, default False
        Whether to print JSON in place of tables.
    console : Console

    Raises
    ------
    InputError
        When there is no batch.
    """
    with Ledger.of(output) as ledger:
        counts, codes, superseded = ledger.counts(), ledger.codes(), ledger.superseded()
        in_hand = ledger.rows(states=["leased"], limit=_MOST_IN_HAND)
        rows = ledger.rows() if cases or paths else []
    if as_json:
        told: dict[str, Any] = {
            "cases": sum(counts.values()),
            "states": counts,
            "codes": codes,
            "superseded": superseded,
            "in_hand": [row.case for row in in_hand],
        }
        if cases or paths:
            told["list"] = [_listed(row, paths=paths) for row in rows]
        console.print(_json(told))
        return
    if rows:
        console.show(case_table(rows, paths=paths))
    console.show(_state_table(counts, codes))
    if superseded:
        console.print(
            f"{superseded} former results were superseded; they lie beside the present ones"
        )
    for row in in_hand:
        console.print(f"In hand: {row.case[:SHORT]} since {utc(row.started_at)}")


def retry_cases(
    output: Path, *, codes: Sequence[str] = (), refused: bool = False, console: Console
) -> int:
    """Let failed cases wait to be tried again, and say how to go on.

    Parameters
    ----------
    output : Path
    codes : sequence of str
        Only those with one of these codes.
    refused : bool, default False
        Whether refused ones are tried again too.
    console : Console
        Told how many they are.

    Returns
    -------
    int
        How many now wait.

    Raises
    ------
    InputError
        When there is no batch, or no case has such a code.
    """
    with Ledger.of(output) as ledger:
        states: list[State] = ["failed", "refused"] if refused else ["failed"]
        known = {code for state in states for code in ledger.codes()[state]}
        unknown = sorted(set(codes) - known)
        if unknown:
            there = f"there are {', '.join(sorted(known))}" if known else "there is none at all"
            raise InputError(f"no case to retry has the code '{unknown[0]}'; {there}")
        count = ledger.retry(codes=codes, refused=refused)
    console.print(
        f"{count} case(s) wait to be tried again" if count else "there is nothing to retry"
    )
    if count:
        console.print(f"To go on: {last_command(output) or 'run the same `medseg batch` again'}")
    return count


def explain_case(
    output: Path, name: str, *, paths: bool = False, as_json: bool = False, console: Console
) -> None:
    """Tell everything about one case.

    Parameters
    ----------
    output : Path
    name : str
        Beginning of the case's name or of its folder, the folder's own path, or where the scan
        lies.
    paths : bool, default False
        Whether to tell where the scan lies, and its series.
    as_json : bool, default False
        Whether to print JSON.
    console : Console

    Raises
    ------
    InputError
        When there is no such case, or several.
    """
    with Ledger.of(output) as ledger:
        row = _meant(ledger, output, name)
    everything = AllCases(output, superseded=True)
    others = [one.case for _, one in everything if one.superseded_by == row.case]
    told = _explained(row, output, former=others, paths=paths)
    if as_json:
        console.print(_json(told))
        return
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in told.items():
        if value not in ("", [], {}, None):
            table.add_row(key.replace("_", " "), _words(value))
    console.show(table)


def case_table(rows: Sequence[Row], *, paths: bool = False) -> Table:
    """Every case in a line.

    Parameters
    ----------
    rows : sequence of Row
    paths : bool, default False
        Whether to show where the scans lie.
    """
    table = Table(title="Cases")
    for title in ("case", "state", "code", "attempts", "seconds", "remark"):
        right = title in {"attempts", "seconds"}
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    if paths:
        table.add_column("scan", overflow="fold")
    for row in rows:
        volumes = ", ".join(f"{label} {ml:.1f} ml" for label, ml in row.volumes_ml.items())
        cells = [
            row.case[:SHORT],
            row.state,
            row.code,
            str(row.attempts or ""),
            f"{sum(row.seconds.values()):.1f}" if row.seconds else "",
            row.message or volumes,
        ]
        table.add_row(*cells, *([row.found.path] if paths else []))
    return table


def keep_command(output: Path, arguments: Sequence[str]) -> None:
    """Keep the command of a run, for its owner alone, so that it can be told how to go on.

    Parameters
    ----------
    output : Path
        Folder of the batch, which is there.
    arguments : sequence of str
    """
    place = Places(output).own / _COMMAND
    if not place.parent.is_dir():
        return
    place.touch(mode=0o600)
    place.write_text(shlex.join(["medseg", *arguments]) + "\n", encoding="utf-8")


def last_command(output: Path) -> str:
    """The command of the last run, or nothing."""
    try:
        return (Places(output).own / _COMMAND).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _state_table(counts: dict[Any, int], codes: dict[Any, dict[str, int]]) -> Table:
    table = Table(title="Batch")
    table.add_column("state")
    table.add_column("cases", justify="right")
    table.add_column("by code", overflow="fold")
    for state, count in counts.items():
        if count or state == "done":
            named = (f"{number} {code}" for code, number in codes.get(state, {}).items())
            table.add_row(state, str(count), ", ".join(named))
    return table


def _meant(ledger: Ledger, output: Path, name: str) -> Row:
    """The one case that a person means."""
    rows = ledger.find(name) or ledger.find(_folder_below(output, name))
    everything = AllCases(output, superseded=True)
    rows = rows or [row for _, row in everything if _lies_at(row, name)]
    present = [row for row in rows if not row.superseded_by] or rows
    if len(present) == 1:
        return present[0]
    if not present:
        raise InputError(
            f"no case of this batch is called '{name}'; `medseg batch status DIR --cases` lists"
            " them",
            code="NO_CASE",
        )
    some = ", ".join(row.case[:SHORT] for row in present[:_MOST_MEANT])
    raise InputError(
        f"'{name}' may mean {len(present)} cases ({some}{', ...' * (len(present) > _MOST_MEANT)});"
        " give more of the name",
        code="SEVERAL_CASES",
    )


def _folder_below(output: Path, name: str) -> str:
    """A folder, or a file in it, as the ledger names folders; empty outside of the output."""
    place = Path(name).absolute()
    place = place.parent if place.is_file() else place
    inside = place.is_relative_to(output.absolute()) and place != output.absolute()
    return place.relative_to(output.absolute()).as_posix() if inside else ""


def _lies_at(row: Row, name: str) -> bool:
    """Whether the scan lies in a file or folder, or is of a series."""
    found = row.found
    if name == found.series:
        return True
    scan, place = Path(found.path), Path(name).absolute()
    names = (scan / one for one in found.names)
    return scan == place or scan.is_relative_to(place) or place in names


def _listed(row: Row, *, paths: bool) -> dict[str, Any]:
    fields = {
        "case": row.case,
        "state": row.state,
        "code": row.code,
        "message": row.message,
        "attempts": row.attempts,
        "folder": row.folder,
        "ended": utc(row.ended_at),
    }
    where = {"path": row.found.path, "series": row.found.series} if paths else {}
    return fields | where


def _explained(row: Row, output: Path, *, former: list[str], paths: bool) -> dict[str, Any]:
    found = row.found
    where = {"path": found.path, "series": found.series, "names": found.names} if paths else {}
    folder = output / row.folder
    files = sorted(folder.iterdir()) if row.state == "done" and folder.is_dir() else []
    return {
        "case": row.case,
        "state": row.state,
        "code": row.code,
        "message": row.message,
        "attempts": row.attempts,
        "warnings": list(row.warnings),
        "queued": utc(row.queued_at),
        "started": utc(row.started_at),
        "ended": utc(row.ended_at),
        "seconds": {stage: round(seconds, 3) for stage, seconds in row.seconds.items()},
        "volumes_ml": {label: round(ml, 3) for label, ml in row.volumes_ml.items()},
        "scan": {"files": found.files, "bytes": found.bytes, **found.facts, **where},
        "folder": row.folder,
        "results": {one.name: one.stat().st_size for one in files},
        "provenance": f"{row.folder}/{CASE_FILE}" if files else "",
        "model": row.model,
        "settings": row.settings,
        "superseded_by": row.superseded_by,
        "supersedes": former,
    }


def _words(value: object) -> str:
    """A value for a person."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_words(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        between = "\n" if any(isinstance(one, str) and " " in one for one in value) else ", "
        return between.join(_words(one) for one in value)
    return str(value)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
