"""report.html of a batch: totals, refusals, failures, volumes, outliers, pictures, on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg_pipelines.batch.messages import Row
from medseg_pipelines.batch.reports.statistics import (
    FAR,
    LEAST_CASES,
    MOST_ROWS,
    Cases,
    Outlier,
    RunStatistics,
)
from medseg_pipelines.batch.reports.summary import refreshed, utc
from medseg_pipelines.batch.workers.formats import THUMBNAIL
from medseg_pipelines.console import duration
from medseg_pipelines.html_report import data_uri, render

REPORT_FILE = "report.html"
MOST_PICTURES = 200
MOST_BYTES = 12_000_000
"""Of all pictures together."""


def write_report(output: Path, cases: Cases) -> Path:
    """Write the report of a batch as one file that needs nothing else; cases are read twice.

    Raises
    ------
    WriteError
        When it cannot be written; a former one stays.
    """
    statistics = RunStatistics.of(cases)
    far = statistics.volumes.far()
    listed = far[:MOST_ROWS]
    newest = [number for _, number in sorted(statistics.newest, reverse=True)]
    pictured = list(dict.fromkeys([outlier.number for outlier in far] + newest))[:MOST_PICTURES]
    numbers = {*pictured, *(outlier.number for outlier in listed)}
    rows = {number: row for number, row in cases if number in numbers} if numbers else {}
    pictures = list(_pictures(output, pictured, rows, far))
    html = render(
        "batch/reports/report.html.j2",
        totals=statistics.totals(),
        written=utc(statistics.ended),
        several=len(statistics.models) > 1,
        usual=statistics.volumes.usual(),
        limit=FAR,
        far=[(rows[outlier.number], outlier) for outlier in listed if outlier.number in rows],
        far_count=len(far),
        least=LEAST_CASES,
        pictures=pictures,
        without=statistics.states["done"] - len(pictures),
        refusals=statistics.refused.by_number(),
        failures=statistics.failures,
        failure_codes=statistics.failed.by_number(),
        timings=_timings(statistics),
        warned=statistics.warned,
    )
    with refreshed(output / REPORT_FILE) as scratch:
        scratch.write_text(html, encoding="utf-8")
    return output / REPORT_FILE


def _pictures(
    output: Path, numbers: Sequence[int], rows: Mapping[int, Row], far: Sequence[Outlier]
) -> Iterator[dict[str, Any]]:
    """The small picture of each case that has one, until they are large enough together."""
    spent = 0
    for number in numbers:
        try:
            picture = (output / rows[number].folder / THUMBNAIL).read_bytes()
        except (KeyError, OSError):  # another result took its place meanwhile
            continue
        spent += len(picture)
        if spent > MOST_BYTES:
            return
        unusual = [outlier for outlier in far if outlier.number == number]
        yield {"row": rows[number], "unusual": unusual, "uri": data_uri(picture)}


def _timings(statistics: RunStatistics) -> dict[str, Any]:
    """Times of the finished cases by stage, and of all."""
    span, done = statistics.ended - statistics.began, statistics.states["done"]
    known = bool(done and statistics.began and span > 0)
    return {
        "stages": [
            (stage, f"{median:.2f}", f"{longest:.2f}", duration(together))
            for stage, median, longest, together in statistics.stages()
        ],
        "span": duration(span) if known else "",
        "rate": f"{60 * done / span:.1f}" if known else "",
    }
