"""One row for each case of a batch: summary.csv for people, summary.parquet for statistics."""

from __future__ import annotations

import csv
import datetime as dt
import filecmp
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medseg.errors import WriteError
from medseg.writing import atomic
from medseg_pipelines.batch.archive.case_keys import is_anonymous
from medseg_pipelines.batch.messages import Row

Cases = Iterable[tuple[int, Row]]
"""Cases with their numbers; to be gone through more than once."""

CSV_FILE, PARQUET_FILE = "summary.csv", "summary.parquet"
UNIT = "_ml"
FIXED = (
    *("case", "source", "series", "folder", "state", "code", "message", "seconds", "attempts"),
    *("warnings", "ended", "model"),
)
"""Columns of every summary, before those of the labels."""

Add = Callable[[Sequence[Row]], None]  # adds rows to a table
_AT_ONCE = 20_000  # rows that are written together
_DIGITS = 12  # of the model's digest, as `medseg models` names it nowhere else


def write_summary(output: Path, cases: Cases) -> None:
    """Write both tables; each appears whole or not at all. Cases are read twice.

    Raises `WriteError` when a table cannot be written; the former one stays.
    """
    labels = list(dict.fromkeys(label for _, row in cases for label in row.volumes_ml))
    rows = (row for _, row in cases)
    with (
        refreshed(output / PARQUET_FILE) as typed,
        refreshed(output / CSV_FILE) as plain,
        _parquet(typed, labels) as add_typed,
        _csv(plain, labels) as add_plain,
    ):
        while portion := list(itertools.islice(rows, _AT_ONCE)):
            add_typed(portion)
            add_plain(portion)


@contextmanager
def refreshed(path: Path) -> Iterator[Path]:
    """A temporary path that takes the name of `path` at the end, unless both hold the same.

    Raises `WriteError` when it cannot be written; an older file stays as it was.
    """
    draft = path.with_name(f".medseg-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield draft
        if not (path.is_file() and filecmp.cmp(path, draft, shallow=False)):
            with atomic(path, suffix=path.suffix) as scratch:
                draft.replace(scratch)
    except OSError as error:
        raise WriteError(
            f"cannot write '{path}': {error.strerror or error}; free some space or choose another"
            " place"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def utc(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC; empty for 0, which means never."""
    if not seconds:
        return ""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _values(row: Row) -> dict[str, Any]:
    """The columns that every row has."""
    same = {name: getattr(row, name) for name in ("case", "state", "code", "message", "attempts")}
    scan = None if is_anonymous(row.folder) else row.scan
    return same | {
        "source": scan.path if scan else "",
        "series": scan.series if scan else "",
        "folder": row.folder if row.state == "done" else "",
        "seconds": sum(row.seconds.values()),
        "warnings": len(row.warnings),
        "ended": row.ended_at,
        "model": row.model[:_DIGITS],
    }


@contextmanager
def _csv(path: Path, labels: Sequence[str]) -> Iterator[Add]:
    columns = [*FIXED, *(name + UNIT for name in labels)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        yield lambda rows: writer.writerows(map(_plain, rows))


@contextmanager
def _parquet(path: Path, labels: Sequence[str]) -> Iterator[Add]:
    import pyarrow as pa
    from pyarrow import parquet

    types = dict.fromkeys(FIXED, pa.string())
    types |= {"seconds": pa.float64(), "attempts": pa.int32(), "warnings": pa.int32()}
    types |= {"ended": pa.timestamp("ms", tz="UTC")}
    schema = pa.schema(types | {name + UNIT: pa.float64() for name in labels})
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(
            pa.Table.from_pylist([_typed(row) for row in rows], schema=schema)
        )


def _plain(row: Row) -> dict[str, Any]:
    """A row of the CSV table; a label that it does not have is empty."""
    values = _values(row)
    values |= {"seconds": f"{values['seconds']:.2f}", "ended": utc(row.ended_at)}
    return values | {name + UNIT: f"{ml:.3f}" for name, ml in row.volumes_ml.items()}


def _typed(row: Row) -> dict[str, Any]:
    """A row of the Parquet table; a label that it does not have is missing."""
    values = _values(row)
    values["ended"] = int(1000 * row.ended_at) if row.ended_at else None
    return values | {name + UNIT: ml for name, ml in row.volumes_ml.items()}
