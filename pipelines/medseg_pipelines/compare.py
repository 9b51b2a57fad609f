"""Two models in, a verdict out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from medseg.errors import InputError
from medseg.metrics.measures import MEASURES
from medseg.metrics.missing import EMPTY_IN_BOTH, EMPTY_IN_ONE, Missing
from medseg.volume import LabelTable
from medseg.volume.label_table import MEAN
from medseg.workflows.compare import (
    ModelComparison,
    compare_models,
    method_sentences,
    verdict,
)
from medseg.workflows.outputs import check_file
from medseg.workflows.scores_file import ScoredCases, read_scores
from medseg.writing import write_text
from medseg_pipelines.console import Console
from medseg_pipelines.evaluate import measured_rows
from medseg_pipelines.score_tables import number_of

SHOWN = ("dice", "hd95_mm", "hd95_pixels", "nsd")
"""Measures of which there is a table where nobody chooses."""


def compare_runs(
    first: Path,
    second: Path,
    *,
    truth: Path | None = None,
    output: Path | None = None,
    table: LabelTable | None = None,
    tolerance_mm: float | None = None,
    missing: Missing = "undefined",
    measures: Sequence[str] = (),
    console: Console,
) -> ModelComparison:
    """Compare models A and B, and show a table and a verdict for each measure.

    Parameters
    ----------
    first, second : Path
        Training runs or scores files; with `truth` label maps or folders of them.
    truth : Path, optional
        Of the label maps.
    output : Path, optional
        JSON file of all measures.
    table : LabelTable, optional
        What the values of label maps mean where files do not say.
    tolerance_mm : float, optional
        Measure surfaces of label maps too, those within this distance counting as equal.
    missing : {"undefined", "worst"}
        What a distance is where a label is missing in one of the maps.
    measures : sequence of str, optional
        Which to show; some usual ones where none is given.
    console : Console

    Raises
    ------
    InputError
        When there are no scores, or none to compare.
    """
    if output is not None:
        check_file(output)
    scored = [
        read_scores(path) if truth is None else _measured(path, truth, table, tolerance_mm, console)
        for path in (first, second)
    ]
    comparison = compare_models(scored[0], scored[1], missing=missing)
    shown = _keys_to_show(comparison, measures)
    for note in comparison.notes:
        console.print(note)
    for key in shown:
        console.show(difference_table(comparison, key))
    for key in shown:
        console.print(verdict(comparison, key), style="bold")
    for sentence in (*method_sentences(comparison), EMPTY_IN_BOTH, EMPTY_IN_ONE[missing]):
        console.print(sentence)
    if output is not None:
        write_text(output, _as_json(comparison, missing))
        console.print(f"Wrote {output}")
    return comparison


def _measured(
    predictions: Path,
    truth: Path,
    table: LabelTable | None,
    tolerance_mm: float | None,
    console: Console,
) -> ScoredCases:
    """Label maps, measured; what was not predicted is left out and told."""
    rows = measured_rows(
        predictions, truth, table=table, tolerance_mm=tolerance_mm, subset=True, console=console
    )
    return ScoredCases(predictions.stem, tuple(rows), tolerance_mm)


def _keys_to_show(comparison: ModelComparison, measures: Sequence[str]) -> list[str]:
    """The measures to show."""
    for key in measures:
        if key not in comparison.measures:
            raise InputError(
                f"there is no '{key}' to compare; there are {', '.join(comparison.measures)}"
            )
    return list(measures) or [key for key in SHOWN if key in comparison.measures]


def difference_table(comparison: ModelComparison, key: str) -> Table:
    """Table of a measure: both means, the difference with its interval, p, and the counts."""
    a, b = comparison.names
    title = MEASURES[key].title if MEASURES[key].better else f"absolute {MEASURES[key].title}"
    table = Table(title=f"{title}: A is {a}, B is {b}")
    table.add_column("label")
    for heading in ("A", "B", "B less A (95 % interval)", "p", "p (Holm)", "n", "no difference"):
        table.add_column(heading, justify="right")
    for label, paired in comparison.measures[key].items():
        if label == MEAN:
            table.add_section()
        difference = number_of(paired.difference, key)
        if paired.low is not None:
            difference += f" ({number_of(paired.low, key)} to {number_of(paired.high, key)})"
        table.add_row(
            "(mean over labels)" if label == MEAN else label,
            number_of(paired.mean_a, key),
            number_of(paired.mean_b, key),
            difference,
            *("-" if p is None else f"{p:.3g}" for p in (paired.p, paired.p_holm)),
            str(paired.n),
            str(paired.zeros),
        )
    return table


def _as_json(comparison: ModelComparison, missing: Missing) -> str:
    content = {
        "a": comparison.names[0],
        "b": comparison.names[1],
        "cases": comparison.cases,
        "counted": comparison.units,
        "measures": msgspec.to_builtins(comparison.measures),
        "verdicts": {key: verdict(comparison, key) for key in comparison.measures},
        "notes": comparison.notes,
        "method": method_sentences(comparison),
        "rules": {"empty in both": EMPTY_IN_BOTH, "empty in one": EMPTY_IN_ONE[missing]},
    }
    return json.dumps(content, indent=1) + "\n"
