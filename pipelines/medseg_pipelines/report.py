"""One HTML file that shows a whole workflow: pictures, scores, volumes, curves, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.metrics import volumes_ml
from medseg.metrics.scores import label_names
from medseg.volume import LabelMap, LabelTable, Scan
from medseg.volume.label_table import MEAN
from medseg.workflows.charts import curves
from medseg.workflows.figures import overlay
from medseg.writing import write_text
from medseg_pipelines.html_report import data_uri, render


@dataclass(frozen=True)
class ReportCase:
    """One segmented scan."""

    name: str
    scan: Scan
    labels: LabelMap
    truth: LabelMap | None = None  # what is true, when that is known


@dataclass(frozen=True)
class Report:
    """All that a report shows."""

    title: str
    verdict: str
    cases: Sequence[ReportCase]  # each becomes a picture and a row of volumes
    scores: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)  # what was done, by name
    # what was written where; shown as links from the report's folder
    places: Mapping[str, Path] = field(default_factory=dict)


def write_report(report: Report, path: Path) -> Path:
    """Write a report as one self-contained HTML file.

    Raises
    ------
    WriteError
        When it cannot be written.
    """
    table = report.cases[0].labels.table
    html = render(
        "report.html.j2",
        report=report,
        legend=legend(table),
        cases=[_shown(case) for case in report.cases],
        curves=data_uri(curves(report.history)) if report.history else "",
        scores=_score_rows(report.scores),
        places={
            name: file.relative_to(path.parent).as_posix() for name, file in report.places.items()
        },
    )
    return write_text(path, html)


def legend(table: LabelTable) -> list[tuple[str, str]]:
    """Name and CSS colour of every label."""
    return [(label.name, "rgb({}, {}, {})".format(*label.color)) for label in table]


def _shown(case: ReportCase) -> dict[str, Any]:
    """A case as the template needs it."""
    volumes = volumes_ml(case.labels)
    true = volumes_ml(case.truth) if case.truth is not None else {}
    return {
        "name": case.name,
        "picture": data_uri(overlay(case.scan, case.labels, truth=case.truth)),
        "voxels": " x ".join(str(count) for count in case.scan.grid.shape),
        "spacing": " x ".join(f"{mm:.3g}" for mm in case.scan.grid.spacing_mm),
        "volumes": [
            {"name": name, "found": _ml(ml), "truth": _ml(true.get(name))}
            for name, ml in volumes.items()
        ],
        "notes": case.scan.provenance.notes,
    }


def _score_rows(scores: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Header, one row per case and the means, all as text."""
    if scores is None:
        return None
    names = label_names(scores)
    rows = [
        (row["case"], [_dice(row["labels"].get(name, {}).get("dice")) for name in names])
        for row in scores["cases"]
    ]
    means = [_dice(scores["mean"][name]["dice"]) for name in names]
    return {
        "names": names,
        "rows": rows,
        "means": means,
        "over_labels": _dice(scores[MEAN]["dice"]),
    }


def _dice(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ml(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
