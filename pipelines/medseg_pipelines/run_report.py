"""One HTML file about a training run, which needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.metrics.evaluation import empty_rules
from medseg.metrics.scores import label_names, mean, measures_in
from medseg.training import Dataset
from medseg.volume.label_table import MEAN
from medseg.workflows.outputs import check_file
from medseg.workflows.run_report import REPORT, report_of
from medseg.writing import write_text
from medseg_pipelines.html_report import data_uri, render
from medseg_pipelines.plan import plan_sentences
from medseg_pipelines.report import legend
from medseg_pipelines.score_tables import interval_words, number_of, statistic_words, title_of

_MOST_CASES = 500


def write_run_report(
    run: Path, *, dataset: Dataset | None = None, output: Path | None = None
) -> Path:
    """Write the report of a finished run.

    Parameters
    ----------
    run : Path
    dataset : Dataset, optional
        What it was trained on; without it the run's own is looked for where it was.
    output : Path, optional
        In place of ``report.html`` in the run.

    Raises
    ------
    InputError
        When the run has no model yet.
    WriteError
        When the file cannot be written.
    """
    path = output or run / REPORT
    check_file(path)
    report = report_of(run, dataset)
    evaluation = report.evaluation
    html = render(
        "run_report.html.j2",
        name=report.name,
        verdict=_verdict(evaluation),
        means=_means(evaluation) if evaluation else None,
        cases=_cases(evaluation) if evaluation else None,
        rules=empty_rules(evaluation) if evaluation else [],
        intervals=interval_words(evaluation) if evaluation else "",
        curves={title: data_uri(png) for title, png in report.curves.items()},
        boxes=data_uri(report.boxes) if report.boxes else "",
        pictures=[
            {"case": picture, "dice": f"{picture.dice:.3f}", "src": data_uri(picture.png)}
            for picture in report.pictures
        ],
        legend=legend(report.labels),
        plan=plan_sentences(report.plan),
        facts=report.facts,
        notes=report.notes,
    )
    return write_text(path, html)


def _verdict(evaluation: Mapping[str, Any] | None) -> str:
    """The mean Dice, as a sentence."""
    if evaluation is None:
        return "Not measured: no case was held out."
    dice = evaluation["statistics"][MEAN]["dice"]
    interval = ""
    if dice["low"] is not None:
        interval = f" (95 % interval {dice['low']:.3f} to {dice['high']:.3f})"
    return f"Mean Dice {number_of(dice['mean'], 'dice')}{interval} on {dice['n']} held-out cases."


def _means(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Titles of the measures, and rows of mean, interval and counts."""
    keys, table = measures_in(evaluation["cases"]), evaluation["statistics"]
    rows = [
        (label, [statistic_words(table[label][key], key) for key in keys])
        for label in label_names(evaluation)
    ]
    over = [statistic_words(table[MEAN][key], key, counts=False) for key in keys]
    return {"titles": [title_of(key, evaluation) for key in keys], "rows": rows, "over": over}


def _cases(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Dice of every case, the worst first; of very many cases the worst alone."""
    names = label_names(evaluation)
    rows = []
    for row in evaluation["cases"]:
        values = [row["labels"].get(name, {}).get("dice") for name in names]
        rows.append((mean(values), row["case"], [number_of(value, "dice") for value in values]))
    rows.sort(key=lambda row: (row[0] is None, row[0], row[1]))
    shown = [(case, cells, number_of(whole, "dice")) for whole, case, cells in rows]
    return {"names": names, "rows": shown[:_MOST_CASES], "count": len(shown)}
