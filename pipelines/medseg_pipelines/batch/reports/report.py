"""report.html of a batch: totals, refusals, failures, volumes, outliers, pictures, on one page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from medseg import __version__
from medseg_pipelines.batch.ledger.ledger import Row
from medseg_pipelines.batch.reports.outliers import FAR, LEAST_CASES, Outlier
from medseg_pipelines.batch.reports.statistics import MOST_ROWS, Cases, RunStatistics
from medseg_pipelines.batch.reports.summary import refreshed, utc
from medseg_pipelines.batch.workers.formats import THUMBNAIL
from medseg_pipelines.console import duration

REPORT_FILE = "report.html"
MOST_PICTURES = 200
MOST_BYTES = 12_000_000
"""Of all pictures together."""

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_SHORT = 12


def write_report(output: Path, cases: Cases) -> Path:
    """Write the report of a batch as one file that needs nothing else.

    Parameters
    ----------
    output : Path
    cases : iterable of (int, Row)
        All of them; gone through twice.

    Returns
    -------
    Path
        Of the file, which appears whole or not at all.

    Raises
    ------
    WriteError
        When it cannot be written.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["short"] = short
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    gathered = RunStatistics.of(cases)
    far = gathered.volumes.far()
    shown = _to_be_shown(far, gathered)
    rows = _rows(cases, {*shown, *(one.number for one in far[:MOST_ROWS])})
    pictures = list(_pictures(output, shown, rows, far))
    totals = gathered.totals()
    html = template.render(
        totals=totals,
        version=__version__,
        written=utc(gathered.ended),
        several=len(gathered.models) > 1,
        usual=gathered.volumes.usual(),
        limit=FAR,
        far=[(rows[one.number], one) for one in far[:MOST_ROWS] if one.number in rows],
        far_count=len(far),
        least=LEAST_CASES,
        pictures=pictures,
        without=totals.done - len(pictures),
        refusals=gathered.refused.by_number(),
        failures=gathered.failures,
        failure_codes=gathered.failed.by_number(),
        timings=_timings(gathered),
        warned=gathered.warned,
    )
    with refreshed(output / REPORT_FILE) as scratch:
        scratch.write_text(html, encoding="utf-8")
    return output / REPORT_FILE


def short(name: str) -> str:
    """The beginning of a case's name or of a digest, enough to find it by."""
    return name[:_SHORT]


def _to_be_shown(far: Sequence[Outlier], gathered: RunStatistics) -> list[int]:
    """Numbers of the cases with pictures: outliers first, then the newest."""
    newest = [number for _, number in sorted(gathered.newest, reverse=True)]
    return list(dict.fromkeys([one.number for one in far] + newest))[:MOST_PICTURES]


def _rows(cases: Cases, numbers: set[int]) -> dict[int, Row]:
    if not numbers:
        return {}
    return {number: row for number, row in cases if number in numbers}


def _pictures(
    output: Path, shown: Sequence[int], rows: Mapping[int, Row], far: Sequence[Outlier]
) -> Iterator[dict[str, Any]]:
    """The small picture of each case that has one, until they are large enough together."""
    unusual: dict[int, list[Outlier]] = {}
    for one in far:
        unusual.setdefault(one.number, []).append(one)
    spent = 0
    for number in shown:
        picture = _picture(output, rows.get(number))
        spent += len(picture)
        if spent > MOST_BYTES:
            return
        if picture:
            uri = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
            yield {"row": rows[number], "unusual": unusual.get(number, []), "uri": uri}


def _picture(output: Path, row: Row | None) -> bytes:
    """Nothing for a case that has none, or whose results another took the place of meanwhile."""
    if row is None:
        return b""
    try:
        return (output / row.folder / THUMBNAIL).read_bytes()
    except OSError:
        return b""


def _timings(gathered: RunStatistics) -> dict[str, Any]:
    """Times of the finished cases by stage, and of all."""
    span, done = gathered.ended - gathered.began, gathered.states["done"]
    known = bool(done and gathered.began and span > 0)
    return {
        "stages": [
            (stage, f"{middle:.2f}", f"{longest:.2f}", duration(together))
            for stage, middle, longest, together in gathered.stages()
        ],
        "span": duration(span) if known else "",
        "rate": f"{60 * done / span:.1f}" if known else "",
    }
