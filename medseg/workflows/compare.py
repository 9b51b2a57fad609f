"""Two models on the same cases: which is better, by how much, and whether that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.errors import InputError
from medseg.metrics import PairedDifference, paired_differences, with_missing
from medseg.metrics.intervals import CONFIDENCE, DRAWS, SEED, matrix_of, patients_of
from medseg.metrics.measures import MEASURES
from medseg.metrics.missing import Missing
from medseg.metrics.paired import FEWEST
from medseg.metrics.scores import Row, label_names, measures_in
from medseg.volume.label_table import MEAN
from medseg.workflows.scores_file import ScoredCases

_SAME = 1e-6
"""Relative difference of true volumes below which they are of one truth."""


@dataclass(frozen=True)
class ModelComparison:
    """Two models, measure by measure and label by label.

    Parameters
    ----------
    names : tuple of str
        Of models A and B.
    cases : tuple of str
        That both were measured on.
    units : str
        What is counted and drawn: "cases", or "patients" where several cases are of one.
    measures : dict of str to dict of str to PairedDifference
        By measure and label; the mean over labels is called `MEAN`.
    notes : tuple of str
        What was left out, a sentence each.
    """

    names: tuple[str, str]
    cases: tuple[str, ...]
    units: str
    measures: dict[str, dict[str, PairedDifference]]
    notes: tuple[str, ...] = field(default=())


def compare_models(
    first: ScoredCases, second: ScoredCases, *, missing: Missing = "undefined"
) -> ModelComparison:
    """Compare two models on the cases and labels that both were measured on.

    Parameters
    ----------
    first, second : ScoredCases
        Models A and B.
    missing : {"undefined", "worst"}
        What a distance is where a label is missing in one of the maps.

    Returns
    -------
    ModelComparison
        Differences are B less A; of volume errors, of their absolute values.

    Raises
    ------
    InputError
        When no case or label is in both, or they were measured against different truths.
    """
    names = _names(first, second)
    rows, notes = _shared_rows(first, second, names)
    labels = _shared_labels(rows, names, notes)
    _check_truths(rows, labels, names)
    first_rows, second_rows = (with_missing(part, missing) for part in rows)
    patients = patients_of([_with_patient(a, b) for a, b in zip(*rows, strict=True)])
    measures = {}
    for key in measures_in(first_rows):
        if key not in measures_in(second_rows):
            continue
        if key == "nsd" and first.tolerance_mm != second.tolerance_mm:
            notes.append(
                f"surface Dice is left out: its tolerance is {first.tolerance_mm} in {names[0]}"
                f" and {second.tolerance_mm} in {names[1]}"
            )
            continue
        values = [matrix_of(part, labels, key) for part in (first_rows, second_rows)]
        if MEASURES[key].better == 0:
            values = [np.abs(errors) for errors in values]
        by_label, over = paired_differences(values[0], values[1], patients)
        measures[key] = {**dict(zip(labels, by_label, strict=True)), MEAN: over}
    cases = tuple(row["case"] for row in first_rows)
    units = "cases" if patients.max() + 1 == len(cases) else "patients"
    return ModelComparison(names, cases, units, measures, tuple(notes))


def verdict(comparison: ModelComparison, key: str, label: str = MEAN) -> str:
    """What a comparison shows about a measure, as a sentence.

    Parameters
    ----------
    comparison : ModelComparison
    key : str
        Of the measure.
    label : str, default the mean over labels
    """
    paired = comparison.measures[key][label]
    measure, (a, b) = MEASURES[key], comparison.names
    title, _, unit = measure.title.partition(", ")
    title = title if measure.better else f"absolute {title}"
    what = title if label == MEAN else f"{title} of {label}"
    if paired.difference is None:
        return f"Nothing to compare in {what}: no case has it in both."
    better = measure.better or -1
    winner = b if paired.difference * better > 0 else a
    sign = 1 if paired.difference > 0 or not paired.is_shown else -1
    evidence = _evidence(paired, sign, measure.decimals + 1, comparison.units)
    if paired.is_shown:
        amount = f"{abs(paired.difference):.{measure.decimals + 1}f} {unit}".rstrip()
        return f"{winner} is better in {what} by {amount} ({evidence})."
    amount = f"{paired.difference:+.{measure.decimals + 1}f} {unit}".rstrip()
    few = ""
    if paired.n - paired.zeros < FEWEST:
        few = f" With fewer than {FEWEST} {comparison.units} that differ no p can fall below 0.05."
    return f"No difference shown in {what}: {b} less {a} is {amount} ({evidence}).{few}"


def _evidence(paired: PairedDifference, sign: int, decimals: int, units: str) -> str:
    parts = []
    if paired.low is not None and paired.high is not None:
        low, high = sorted((sign * paired.low, sign * paired.high))
        parts.append(f"{CONFIDENCE * 100:g} % interval {low:.{decimals}f} to {high:.{decimals}f}")
    parts.append(f"Wilcoxon {p_words(paired.p_holm)}, n = {paired.n} {units}")
    if paired.zeros:
        parts.append(f"{paired.zeros} without a difference")
    return ", ".join(parts)


def p_words(p: float | None) -> str:
    """A p for a person, such as ``"p = 0.003"``."""
    if p is None:
        return "p not defined"
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def method_sentences(comparison: ModelComparison) -> tuple[str, ...]:
    """How the numbers of a comparison were made, for a person and for its file."""
    return (
        "Differences are B less A on the same cases.",
        f"Intervals: percentile bootstrap of {comparison.units}, {DRAWS} draws, seed {SEED}.",
        "p: Wilcoxon's signed-rank test, two-sided; zero differences are left out.",
        "p by label is corrected by Holm over the labels of a measure, and not over measures.",
        "A difference is called shown where that p is below 0.05 and the interval leaves 0 out.",
    )


def _names(first: ScoredCases, second: ScoredCases) -> tuple[str, str]:
    if first.name != second.name:
        return first.name, second.name
    return f"{first.name} (A)", f"{second.name} (B)"


def _shared_rows(
    first: ScoredCases, second: ScoredCases, names: tuple[str, str]
) -> tuple[tuple[list[Row], list[Row]], list[str]]:
    """Rows of the cases in both, in the order of A, and what is only in one of them."""
    in_b = {row["case"]: row for row in second.rows}
    shared = [row for row in first.rows if row["case"] in in_b]
    if not shared:
        raise InputError(
            f"{names[0]} and {names[1]} share no case: one has {_some(first)}, the other"
            f" {_some(second)}; compare models that were measured on the same cases",
            code="NO_SHARED_CASES",
        )
    both = {row["case"] for row in shared}
    notes = []
    for name, rows in zip(names, (first.rows, second.rows), strict=True):
        only = [row["case"] for row in rows if row["case"] not in both]
        if only:
            notes.append(f"Left out, only in {name}: {_listed(only)}")
    return (shared, [in_b[row["case"]] for row in shared]), notes


def _shared_labels(
    rows: tuple[list[Row], list[Row]], names: tuple[str, str], notes: list[str]
) -> list[str]:
    """Labels of both; the others are told."""
    labels = [label_names({"cases": part}) for part in rows]
    shared = [label for label in labels[0] if label in labels[1]]
    if not shared:
        raise InputError(
            f"{names[0]} and {names[1]} share no label: one has {_listed(labels[0])}, the other"
            f" {_listed(labels[1])}; compare models of the same structures",
            code="OTHER_LABELS",
        )
    for name, own in zip(names, labels, strict=True):
        only = [label for label in own if label not in shared]
        if only:
            notes.append(f"Left out, labels only of {name}: {_listed(only)}")
    return shared


def _check_truths(
    rows: tuple[list[Row], list[Row]], labels: Sequence[str], names: tuple[str, str]
) -> None:
    """Refuse models that were measured against different truths."""
    for key in ("reference_volume_ml", "reference_volume_pixels"):
        a, b = (matrix_of(part, labels, key) for part in rows)
        other = np.abs(a - b) > _SAME * np.maximum(a, b)
        if other.any():
            row, column = np.argwhere(other)[0]
            raise InputError(
                f"{names[0]} and {names[1]} were measured against different truths: label"
                f" '{labels[column]}' of case '{rows[0][row]['case']}' has {key} {a[row, column]:g}"
                f" in one and {b[row, column]:g} in the other; evaluate both against one truth",
                code="OTHER_TRUTH",
            )


def _with_patient(first: Row, second: Row) -> Row:
    return {"case": first["case"], "patient": first.get("patient") or second.get("patient") or ""}


def _some(scored: ScoredCases) -> str:
    return _listed([row["case"] for row in scored.rows])


def _listed(names: Sequence[str], *, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
