"""Tables that the commands of ``medseg pacs`` show."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from medseg_pipelines.pacs.database import SeriesRow
from medseg_pipelines.pacs.deliveries import Delivery
from medseg_pipelines.pacs.pull import Pulled

_SHORT = 8


def pulled_table(pulled: Sequence[Pulled]) -> Table:
    """Table of what became of series that were asked for."""
    table = Table(title="Series")
    for title in ("series", "objects", "fetched", "here before", "refused", "remark"):
        table.add_column(title, justify="left" if title in ("series", "remark") else "right")
    for one in pulled:
        counts = (one.objects, one.fetched, one.kept, one.refused)
        remark = f"{one.code}: {one.message}" if one.code else ""
        table.add_row(one.series[:_SHORT], *map(str, counts), remark)
    return table


def series_table(rows: Sequence[SeriesRow]) -> Table:
    """Table of the series of a spool."""
    table = Table(title="Series")
    for title in ("series", "state", "objects", "expected", "apart", "remark"):
        table.add_column(title)
    for row in rows:
        expected = "" if row.expected is None else str(row.expected)
        remark = f"{row.code}: {row.message}" if row.code else ""
        table.add_row(
            row.series[:_SHORT], row.state, str(row.objects), expected, str(row.apart or ""), remark
        )
    return table


def deliveries_table(rows: Sequence[Delivery]) -> Table:
    """Table of what was sent, and what waits."""
    table = Table(title="Deliveries")
    for title in ("delivery", "series", "file", "peer", "state", "attempts", "remark"):
        table.add_column(title)
    for row in rows:
        remark = f"{row.code}: {row.message}" if row.code else row.sent
        table.add_row(
            row.delivery[:_SHORT],
            row.series[:_SHORT],
            row.file,
            row.peer,
            row.state,
            str(row.attempts),
            remark,
        )
    return table
