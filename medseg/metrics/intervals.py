"""How far a mean over cases may be off: bootstrap intervals, by patient where these are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.metrics.scores import Row, label_names, mean, measures_in
from medseg.volume.label_table import MEAN

Values = npt.NDArray[np.float64]
DRAWS, SEED, CONFIDENCE = 10_000, 0, 0.95
_AT_ONCE = 1000


@dataclass(frozen=True)
class Limits:
    """Ends of a confidence interval; None where fewer than two units tell of it."""

    low: float | None
    high: float | None


def patients_of(rows: Sequence[Row]) -> npt.NDArray[np.int64]:
    """A number for the patient of each case; cases of nobody known are patients of their own.

    Returns
    -------
    ndarray of int, shape (cases,)
    """
    numbers: dict[tuple[str, str], int] = {}
    for row in rows:
        numbers.setdefault(_patient(row), len(numbers))
    return np.array([numbers[_patient(row)] for row in rows], np.int64)


def _patient(row: Row) -> tuple[str, str]:
    patient = row.get("patient") or ""
    return patient, "" if patient else row["case"]


def matrix_of(rows: Sequence[Row], names: Sequence[str], key: str) -> Values:
    """A measure of every case and label; NaN where there is none. Shape (cases, labels)."""
    cells = [[row["labels"].get(name, {}).get(key) for name in names] for row in rows]
    values: Values = np.array(cells, np.float64).reshape(len(rows), len(names))
    return values


def bootstrap(
    values: Values,
    patients: npt.NDArray[np.int64],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> tuple[list[Limits], Limits]:
    """Intervals of the mean over cases of each label, and of the mean of these means.

    Parameters
    ----------
    values : ndarray, shape (cases, labels)
        NaN where a case has no value of a label.
    patients : ndarray of int, shape (cases,)
        Patients are drawn, each with all their cases.
    draws : int, default 10000
    seed : int, default 0

    Returns
    -------
    list of Limits
        For each label.
    Limits
        Of the mean over labels.

    Notes
    -----
    The percentile method (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter
    13), on clusters (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section
    3.8). A draw that leaves a label without a value tells nothing of it.
    """
    units = int(patients.max(initial=-1)) + 1
    present = ~np.isnan(values)
    sums, counts = (np.zeros((units, values.shape[1])) for _ in range(2))
    np.add.at(sums, patients, np.where(present, values, 0.0))
    np.add.at(counts, patients, present)
    if units < 2:
        return [Limits(None, None)] * values.shape[1], Limits(None, None)
    labels, over = [], []
    for weights in _weights(units, draws, seed):
        drawn = weights @ counts
        with np.errstate(invalid="ignore"):
            means = np.where(drawn > 0, weights @ sums / drawn, np.nan)
        labels.append(means)
        over.append(_mean_over_labels(means))
    units_of_label = (counts > 0).sum(axis=0)
    estimates = np.concatenate(labels)
    by_label = [_limits(estimates[:, row], int(n)) for row, n in enumerate(units_of_label)]
    return by_label, _limits(np.concatenate(over), int((counts.sum(axis=1) > 0).sum()))


def _weights(units: int, draws: int, seed: int) -> Iterator[Values]:
    """How often each unit was drawn, some draws at a time; shape (draws, units)."""
    generator = np.random.default_rng(seed)
    for start in range(0, draws, _AT_ONCE):
        size = min(_AT_ONCE, draws - start)
        yield generator.multinomial(units, np.full(units, 1 / units), size=size).astype(np.float64)


def _mean_over_labels(means: Values) -> Values:
    """Mean over labels of each draw, without labels of which it tells nothing."""
    present = ~np.isnan(means)
    with np.errstate(invalid="ignore"):
        over: Values = np.where(present, means, 0.0).sum(axis=1) / present.sum(axis=1)
    return over


def _limits(estimates: Values, units: int) -> Limits:
    if units < 2:
        return Limits(None, None)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(estimates[~np.isnan(estimates)], [tail, 100 - tail])
    return Limits(float(low), float(high))


def statistics(rows: Sequence[Row]) -> dict[str, Any]:
    """Mean, interval and number of cases of every label and measure.

    Parameters
    ----------
    rows : sequence of dict
        Of cases, perhaps with a ``"patient"``.

    Returns
    -------
    dict
        ``{label: {measure: {"mean", "low", "high", "n", "undefined", "empty"}}}``, and the same
        under `MEAN` for the mean over labels. ``n`` cases are in the mean; ``undefined`` ones have
        the label in a map but no value; in ``empty`` ones neither map has it. Under `MEAN` they
        are counts of cases that tell something, and of pairs of a case and a label.
    """
    names, patients = label_names({"cases": rows}), patients_of(rows)
    table: dict[str, Any] = {name: {} for name in (*names, MEAN)}
    dice = matrix_of(rows, names, "dice")
    there = np.array([[name in row["labels"] for name in names] for row in rows], bool)
    empty = (np.isnan(dice) & there.reshape(dice.shape)).sum(axis=0)
    for key in measures_in(rows):
        values = matrix_of(rows, names, key)
        limits, over = bootstrap(values, patients)
        present = ~np.isnan(values)
        undefined = (~present & ~np.isnan(dice)).sum(axis=0)
        means = [mean(_present(values[:, row])) for row in range(len(names))]
        for row, name in enumerate(names):
            counts = (present[:, row].sum(), undefined[row], empty[row])
            table[name][key] = _statistic(means[row], limits[row], *map(int, counts))
        counts = (present.any(axis=1).sum(), undefined.sum(), empty.sum())
        table[MEAN][key] = _statistic(mean(means), over, *map(int, counts))
    return table


def _present(values: Values) -> list[float]:
    present: list[float] = values[~np.isnan(values)].tolist()
    return present


def _statistic(
    mean_of: float | None, limits: Limits, n: int, undefined: int, empty: int
) -> dict[str, float | None]:
    return {
        "mean": mean_of,
        "low": limits.low,
        "high": limits.high,
        "n": n,
        "undefined": undefined,
        "empty": empty,
    }


def method_of(rows: Sequence[Row]) -> dict[str, Any]:
    """How the intervals of :func:`statistics` were made, for the file that holds them."""
    units = int(patients_of(rows).max(initial=-1)) + 1
    return {
        "method": "percentile bootstrap",
        "confidence": CONFIDENCE,
        "draws": DRAWS,
        "seed": SEED,
        "resampled": "cases" if units == len(rows) else "patients",
        "units": units,
    }
