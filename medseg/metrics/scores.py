"""Scores of many cases in one table, ready for a JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from medseg.metrics.measures import MEASURES
from medseg.metrics.overlap import LabelOverlap
from medseg.metrics.surface import SurfaceDistance
from medseg.volume.label_table import MEAN

Scores = dict[str, float | None]
Row = dict[str, Any]
"""``{"case": ..., "labels": {label: Scores}}``, and what else is known of the case."""
Rows = Mapping[str, Mapping[str, LabelOverlap]]
Surfaces = Mapping[str, Mapping[str, SurfaceDistance]]
OVERLAP = ("dice", "iou")
FOREGROUND = "foreground"
"""What the mean over labels is called in older files, and in "mean" unless a label is so called."""


def summarise(cases: Rows, surfaces: Surfaces | None = None) -> dict[str, Any]:
    """Scores per case and their means.

    Parameters
    ----------
    cases : mapping of str to mapping of str to LabelOverlap
        Case name to what :func:`~medseg.metrics.overlap` gave for it.
    surfaces : mapping of str to mapping of str to SurfaceDistance, optional
        The same cases and labels, with what :func:`~medseg.metrics.surface_distances` gave.

    Returns
    -------
    dict
        As :func:`means_of` gives it, of what :func:`case_scores` gives for each case.
    """
    rows = [
        {"case": case, "labels": case_scores(labels, (surfaces or {}).get(case))}
        for case, labels in cases.items()
    ]
    return means_of(rows)


def case_scores(
    overlaps: Mapping[str, LabelOverlap],
    surfaces: Mapping[str, SurfaceDistance] | None = None,
    *,
    sized: bool = True,
) -> dict[str, Scores]:
    """All numbers of a case, label by label.

    Parameters
    ----------
    overlaps : mapping of str to LabelOverlap
    surfaces : mapping of str to SurfaceDistance, optional
    sized : bool, default True
        Whether the size of a voxel is known; where not, a pixel counts as 1 and keys end in
        ``_pixels`` in place of ``_mm`` and ``_ml``.

    Returns
    -------
    dict of str to dict of str to float or None
        By label: ``dice``, ``iou``, ``volume_ml``, ``reference_volume_ml``, ``volume_error_ml``
        (predicted less true), ``volume_error_relative`` (that over the true volume), and with
        surfaces ``hd95_mm``, ``assd_mm`` and ``nsd``. None where there is nothing to measure.
    """
    scores = {}
    for name, row in overlaps.items():
        scores[name] = _with_volume_errors(msgspec.to_builtins(row))
        if surfaces:
            scores[name] |= msgspec.to_builtins(surfaces[name])
    return scores if sized else {name: _in_pixels(row) for name, row in scores.items()}


def means_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Rows of cases, and the means of every measure.

    Parameters
    ----------
    rows : sequence of dict
        One for each case.

    Returns
    -------
    dict
        ``{"cases": rows, "mean": {label: {"dice", "iou"...}, "foreground": {...}},
        "mean_over_labels": {"dice", "iou"...}}``. A score is None where the label is empty in
        both maps (a distance: in either), and means pass over it; ``"mean_over_labels"`` is the
        mean over labels of the per-label means, which stands in ``"mean"`` as ``"foreground"``
        too where no label is called so.
    """
    measures = measures_in(rows)
    means = {
        name: {
            key: mean(row["labels"][name].get(key) for row in rows if name in row["labels"])
            for key in measures
        }
        for name in label_names({"cases": rows})
    }
    over_labels = {key: mean(label[key] for label in means.values()) for key in measures}
    return {
        "cases": list(rows),
        "mean": means if FOREGROUND in means else {**means, FOREGROUND: over_labels},
        MEAN: over_labels,
    }


def measures_in(rows: Iterable[Row]) -> tuple[str, ...]:
    """Keys of the measures that any of the cases has, in the order of `MEASURES`."""
    there = {key for row in rows for scores in row["labels"].values() for key in scores}
    return tuple(key for key in MEASURES if key in there) or OVERLAP


def label_names(summary: Mapping[str, Any]) -> list[str]:
    """Names of the labels in what :func:`summarise` gave, without that of the mean."""
    return list(dict.fromkeys(name for row in summary["cases"] for name in row["labels"]))


def mean_named(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores by label of any file, with the mean over labels last and under its name of today."""
    if MEAN in scores or FOREGROUND not in scores:
        return dict(scores)
    labels = {name: score for name, score in scores.items() if name != FOREGROUND}
    return {**labels, MEAN: scores[FOREGROUND]}


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None when there are none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _with_volume_errors(scores: Scores) -> Scores:
    """The scores, and how far the volume is off; None where there is nothing to measure."""
    predicted, true = scores["volume_ml"] or 0.0, scores["reference_volume_ml"] or 0.0
    error = None if scores["dice"] is None else predicted - true
    relative = error / true if error is not None and true else None
    return scores | {"volume_error_ml": error, "volume_error_relative": relative}


def _in_pixels(scores: Scores) -> Scores:
    """The scores of a picture, whose pixels were taken for 1 mm."""
    counted = {}
    for key, value in scores.items():
        name, _, unit = key.rpartition("_")
        if unit not in ("mm", "ml"):
            counted[key] = value
            continue
        per_unit = 1000.0 if unit == "ml" else 1.0
        counted[f"{name}_pixels"] = None if value is None else value * per_unit
    return counted
