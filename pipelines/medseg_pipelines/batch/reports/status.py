"""What the ledger says, for a person at a screen: how a batch stands, and all about one case.

Where scans lie in the archive may tell who the patients are, so it is shown only on request.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Column, Table

from medseg.errors import InputError
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import AllCases, Ledger
from medseg_pipelines.batch.messages import Row, State
from medseg_pipelines.batch.reports.summary import utc
from medseg_pipelines.batch.result_files import BESIDE, CASE_FILE
from medseg_pipelines.console import Console

SHORT = 12
"""Digits of a case's name that are shown; `explain` takes any beginning."""

_MOST_SHOWN = 20
_MOST_NAMED = 10
_COMMAND = "command.txt"


def show_status(
    output: Path,
    *,
    cases: bool = False,
    paths: bool = False,
    as_json: bool = False,
    console: Console,
) -> None:
    """Show how a batch stands, with every case or even where its scan lies."""
    with Ledger.of(output) as ledger:
        counts, codes, superseded = ledger.counts(), ledger.codes(), ledger.superseded()
        leased = ledger.rows(states=["leased"], limit=_MOST_SHOWN)
        rows = ledger.rows() if cases or paths else []
    if as_json:
        status: dict[str, Any] = {
            "cases": sum(counts.values()),
            "states": counts,
            "codes": codes,
            "superseded": superseded,
            "in_hand": [row.case for row in leased],
        }
        if cases or paths:
            status["list"] = [_listed(row, paths=paths) for row in rows]
        console.print(_json(status))
        return
    if rows:
        console.show(_case_table(rows, paths=paths))
    console.show(_state_table(counts, codes))
    if superseded:
        console.print(
            f"{superseded} former results were superseded; they lie beside the present ones"
        )
    for row in leased:
        console.print(f"In hand: {row.case[:SHORT]} since {utc(row.started_at)}")


def retry_cases(
    output: Path, *, codes: Sequence[str] = (), refused: bool = False, console: Console
) -> int:
    """Let failed cases (with one of these codes, and refused ones too) wait; say how to go on.

    Raises `InputError` when there is no batch, or no case has such a code.
    """
    with Ledger.of(output) as ledger:
        states: list[State] = ["failed", "refused"] if refused else ["failed"]
        present = {code for state in states for code in ledger.codes()[state]}
        unknown = sorted(set(codes) - present)
        if unknown:
            there = f"there are {', '.join(sorted(present))}" if present else "there is none at all"
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

    `name` is the beginning of the case's name or of its folder, the folder's own path, or where the
    scan lies. Raises `InputError` when there is no such case, or several.
    """
    with Ledger.of(output) as ledger:
        row = _named(ledger, output, name)
    explained = _explained(row, output, paths=paths)
    if as_json:
        console.print(_json(explained))
        return
    table = Table(Column(style="bold"), Column(overflow="fold"), show_header=False, box=None)
    for key, value in explained.items():
        if value not in ("", [], {}, None):
            table.add_row(key.replace("_", " "), _text(value))
    console.show(table)


def keep_command(output: Path, arguments: Sequence[str]) -> None:
    """Keep the command of a run, for its owner alone, so that it can be told how to go on."""
    path = Places(output).own / _COMMAND
    if path.parent.is_dir():
        path.touch(mode=0o600)
        path.write_text(shlex.join(["medseg", *arguments]) + "\n", encoding="utf-8")


def last_command(output: Path) -> str:
    """The command of the last run, or nothing."""
    try:
        return (Places(output).own / _COMMAND).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _case_table(rows: Sequence[Row], *, paths: bool) -> Table:
    """Every case in a line."""
    left = [Column(title, overflow="fold") for title in ("case", "state", "code")]
    right = [Column(title, justify="right", overflow="fold") for title in ("attempts", "seconds")]
    rest = [Column(title, overflow="fold") for title in ("remark", *(["scan"] if paths else []))]
    table = Table(*left, *right, *rest, title="Cases")
    for row in rows:
        volumes = ", ".join(f"{label} {ml:.1f} ml" for label, ml in row.volumes_ml.items())
        seconds = f"{sum(row.seconds.values()):.1f}" if row.seconds else ""
        cells = [row.case[:SHORT], row.state, row.code, str(row.attempts or ""), seconds]
        table.add_row(*cells, row.message or volumes, *([row.scan.path] if paths else []))
    return table


def _state_table(counts: Mapping[State, int], codes: Mapping[State, dict[str, int]]) -> Table:
    columns = ("state", Column("cases", justify="right"), Column("by code", overflow="fold"))
    table = Table(*columns, title="Batch")
    for state, count in counts.items():
        if count or state == "done":
            by_code = (f"{number} {code}" for code, number in codes.get(state, {}).items())
            table.add_row(state, str(count), ", ".join(by_code))
    return table


def _named(ledger: Ledger, output: Path, name: str) -> Row:
    """The only case that a person may mean."""
    rows = ledger.find(name + BESIDE) or ledger.find(name)
    rows = rows or ledger.find(Places(output.absolute()).place_of(Path(name)))
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
    some = ", ".join(row.case[:SHORT] for row in present[:_MOST_NAMED])
    raise InputError(
        f"'{name}' may mean {len(present)} cases ({some}{', ...' * (len(present) > _MOST_NAMED)});"
        " give more of the name",
        code="SEVERAL_CASES",
    )


def _lies_at(row: Row, name: str) -> bool:
    """Whether the scan lies in a file or folder, or is of a series."""
    scan, path = Path(row.scan.path), Path(name).absolute()
    files = {scan / file for file in row.scan.names}
    files |= {scan.with_name(file) for file in row.scan.channels}
    return name == row.scan.series or scan.is_relative_to(path) or path in files


def _listed(row: Row, *, paths: bool) -> dict[str, Any]:
    names = ("case", "state", "code", "message", "attempts", "folder")
    where = {"path": row.scan.path, "series": row.scan.series} if paths else {}
    return {name: getattr(row, name) for name in names} | {"ended": utc(row.ended_at)} | where


def _explained(row: Row, output: Path, *, paths: bool) -> dict[str, Any]:
    scan, places = row.scan, Places(output.absolute())
    where = {"path": scan.path, "series": scan.series, "names": scan.names} if paths else {}
    files = places.files(row.folder) if places.has_results(row.folder) else {}
    names = ("case", "state", "code", "message", "attempts", "warnings")
    everything = AllCases(output, superseded=True)
    return {name: getattr(row, name) for name in names} | {
        "queued": utc(row.queued_at),
        "started": utc(row.started_at),
        "ended": utc(row.ended_at),
        "seconds": {stage: round(seconds, 3) for stage, seconds in row.seconds.items()},
        "volumes_ml": {label: round(ml, 3) for label, ml in row.volumes_ml.items()},
        "scan": {"files": scan.files, "bytes": scan.bytes, **scan.facts, **where},
        "folder": row.folder,
        "results": {file.name: file.stat().st_size for file in files.values()},
        "provenance": files[CASE_FILE].relative_to(places.output).as_posix() if files else "",
        "model": row.model,
        "settings": row.settings,
        "superseded_by": row.superseded_by,
        "supersedes": [case.case for _, case in everything if case.superseded_by == row.case],
    }


def _text(value: object) -> str:
    """A value for a person."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        between = "\n" if any(isinstance(item, str) and " " in item for item in value) else ", "
        return between.join(map(_text, value))
    return str(value)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()
