"""One row for each case of a batch: summary.csv for people, summary.parquet for statistics."""

from __future__ import annotations

import csv
import datetime as dt
import io
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from medseg_pipelines.batch.ledger import Row
from medseg_pipelines.destination import write_bytes

CSV_FILE, PARQUET_FILE = "summary.csv", "summary.parquet"
UNIT = "_ml"
FIXED = (
    "case", "folder", "state", "code", "message", "seconds", "attempts", "warnings", "ended",
    "model",
)  # fmt: skip
"""Columns of every summary, before those of the labels."""

_LEAST_SECONDS = 30.0
_SHARE = 20.0
_DIGITS = 12  # of the model's digest, as `medseg models` names it nowhere else


def write_summary(output: Path, rows: Sequence[Row]) -> None:
    """Write both tables; each appears whole or not at all.

    Parameters
    ----------
    output : Path
        Folder of the batch.
    rows : sequence of Row
        One for each case, in the order of the table. Columns of labels follow it too.

    Raises
    ------
    WriteError
        When a table cannot be written; the former one stays.
    """
    labels = label_names(rows)
    refresh(output / CSV_FILE, _csv(rows, labels).encode())
    refresh(output / PARQUET_FILE, _parquet(rows, labels))


def refresh(path: Path, content: bytes) -> None:
    """Write a file, unless it is there with this content already.

    Raises
    ------
    WriteError
        When it cannot be written.
    """
    try:
        same = path.read_bytes() == content
    except OSError:
        same = False
    if not same:
        write_bytes(path, content)


def label_names(rows: Iterable[Row]) -> list[str]:
    """Names of all labels, in the order of the models' tables."""
    return list(dict.fromkeys(name for row in rows for name in row.volumes_ml))


def utc(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC; empty for 0, which means never."""
    if not seconds:
        return ""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class NowAndThen:
    """Writing that is repeated while a batch runs, but costs no more than a twentieth of the time.

    Parameters
    ----------
    write : callable
        What to do.
    least_s : float
        Not more often than this.
    """

    def __init__(self, write: Callable[[], None], *, least_s: float = _LEAST_SECONDS) -> None:
        self._write, self._least_s = write, least_s
        self._next = time.monotonic() + least_s

    def __call__(self) -> None:
        """Write when it is time."""
        start = time.monotonic()
        if start < self._next:
            return
        self._write()
        end = time.monotonic()
        self._next = end + max(self._least_s, _SHARE * (end - start))


def _values(row: Row) -> dict[str, Any]:
    """The columns that every row has."""
    return {
        "case": row.case,
        "folder": row.folder if row.state == "done" else "",
        "state": row.state,
        "code": row.code,
        "message": row.message,
        "seconds": sum(row.seconds.values()),
        "attempts": row.attempts,
        "warnings": len(row.warnings),
        "ended": row.ended_at,
        "model": row.model[:_DIGITS],
    }


def _csv(rows: Sequence[Row], labels: Sequence[str]) -> str:
    text = io.StringIO()
    columns = [*FIXED, *(name + UNIT for name in labels)]
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = _values(row)
        values["seconds"] = f"{values['seconds']:.2f}"
        values["ended"] = utc(row.ended_at)
        writer.writerow(values | {name + UNIT: f"{ml:.3f}" for name, ml in row.volumes_ml.items()})
    return text.getvalue()


def _parquet(rows: Sequence[Row], labels: Sequence[str]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    moment = pa.timestamp("ms", tz="UTC")
    types = dict.fromkeys(FIXED, pa.string())
    types |= {"seconds": pa.float64(), "attempts": pa.int32(), "warnings": pa.int32()}
    types["ended"] = moment
    values = [_values(row) for row in rows]
    columns = {name: [one[name] for one in values] for name in FIXED}
    columns["ended"] = [round(1000 * at) if at else None for at in columns["ended"]]
    for name in labels:
        types[name + UNIT] = pa.float64()
        columns[name + UNIT] = [row.volumes_ml.get(name) for row in rows]
    table = pa.table(
        {name: pa.array(columns[name], types[name]) for name in types}, schema=pa.schema(types)
    )
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
