"""report.html of a batch: totals, refusals, failures, volumes, outliers, pictures, on one page."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
import msgspec

from medseg import __version__
from medseg_pipelines.batch.formats import THUMBNAIL
from medseg_pipelines.batch.ledger import Row
from medseg_pipelines.batch.outliers import FAR, LEAST_CASES, Outlier, outliers, usual_volumes
from medseg_pipelines.batch.summary import refresh, utc
from medseg_pipelines.screen import duration

REPORT_FILE = "report.html"
MOST_PICTURES = 200
MOST_BYTES = 12_000_000
"""Of all pictures together."""

MOST_ROWS = 200
_TEMPLATE = Path(__file__).with_name("report.html.j2")
_SHORT = 12


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How many cases stand where.

    Parameters
    ----------
    done, refused, failed, open : int
        Cases; `open` ones wait or are in hand.
    """

    done: int
    refused: int
    failed: int
    open: int

    @property
    def all(self) -> int:
        """How many cases there are."""
        return self.done + self.refused + self.failed + self.open


def write_report(output: Path, rows: Sequence[Row]) -> Path:
    """Write the report of a batch as one file that needs nothing else.

    Parameters
    ----------
    output : Path
        Folder of the batch.
    rows : sequence of Row
        One for each case.

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
    done = [row for row in rows if row.state == "done"]
    usual = usual_volumes(done)
    far = outliers(done, usual)
    pictures = list(_pictures(output, _pictured(done, far)))
    html = template.render(
        totals=totals(rows), version=__version__, written=utc(_last(rows)),
        several=len({row.model for row in rows}) > 1, usual=usual, far=far[:MOST_ROWS],
        far_count=len(far), limit=FAR, least=LEAST_CASES, pictures=pictures,
        without=len(done) - len(pictures), refusals=by_code(rows, "refused"),
        failures=[row for row in rows if row.state == "failed"][:MOST_ROWS],
        failure_codes=by_code(rows, "failed"), timings=_timings(done),
        warned=[row for row in done if row.warnings][:MOST_ROWS],
    )  # fmt: skip
    refresh(output / REPORT_FILE, html.encode())
    return output / REPORT_FILE


def totals(rows: Sequence[Row]) -> Totals:
    """Count the cases by state."""
    counts = Counter(row.state for row in rows)
    return Totals(
        done=counts["done"], refused=counts["refused"], failed=counts["failed"],
        open=counts["waiting"] + counts["leased"],
    )  # fmt: skip


def by_code(rows: Sequence[Row], state: str) -> list[tuple[str, int, str]]:
    """Code, how many cases, and the sentence that is told most often, the most frequent first."""
    sentences: dict[str, Counter[str]] = {}
    for row in rows:
        if row.state == state:
            sentences.setdefault(row.code, Counter())[row.message] += 1
    counted = [(code, all_.total(), all_.most_common(1)[0][0]) for code, all_ in sentences.items()]
    return sorted(counted, key=lambda one: (-one[1], one[0]))


def short(name: str) -> str:
    """The beginning of a case's name or of a digest, enough to find it by."""
    return name[:_SHORT]


def _last(rows: Sequence[Row]) -> float:
    return max((row.ended_at for row in rows), default=0.0)


def _pictured(done: Sequence[Row], far: Sequence[Outlier]) -> Iterator[tuple[Row, list[Outlier]]]:
    """Which cases are shown: outliers first, then the newest."""
    unusual: dict[str, list[Outlier]] = {}
    for one in far:
        unusual.setdefault(one.row.case, []).append(one)
    first = {found[0].row.case: found[0].row for found in unusual.values()}
    newest = sorted(done, key=lambda row: -row.ended_at)
    for case, row in (first | {row.case: row for row in newest}).items():
        yield row, unusual.get(case, [])


def _pictures(
    output: Path, cases: Iterable[tuple[Row, list[Outlier]]]
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The small picture of each case that has one, until there are enough."""
    spent = count = 0
    for row, unusual in cases:
        try:
            picture = (output / row.folder / THUMBNAIL).read_bytes()
        except OSError:
            continue
        spent, count = spent + len(picture), count + 1
        if spent > MOST_BYTES or count > MOST_PICTURES:
            return
        uri = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
        yield {"row": row, "unusual": unusual, "uri": uri}


def _timings(done: Sequence[Row]) -> dict[str, Any]:
    """Times of the cases by stage, and of all."""
    stages: dict[str, list[float]] = {}
    for row in done:
        for stage, seconds in row.seconds.items():
            stages.setdefault(stage, []).append(seconds)
    span = _last(done) - min((row.started_at for row in done if row.started_at), default=0.0)
    return {
        "stages": [
            (stage, f"{median(seconds):.2f}", f"{max(seconds):.2f}", duration(sum(seconds)))
            for stage, seconds in stages.items()
        ],
        "span": duration(span) if done else "",
        "rate": f"{60 * len(done) / span:.1f}" if done and span > 0 else "",
    }
