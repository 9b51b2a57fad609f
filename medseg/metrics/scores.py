"""Scores of many cases in one table, ready for a JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from medseg.metrics.overlap import LabelOverlap
from medseg.metrics.surface import SurfaceDistance
from medseg.volume.label_table import MEAN

Scores = dict[str, float | None]
Rows = Mapping[str, Mapping[str, LabelOverlap]]
Surfaces = Mapping[str, Mapping[str, SurfaceDistance]]
OVERLAP, SURFACE = ("dice", "iou"), ("hd95_mm", "nsd")
"""What is averaged over cases."""
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
        ``{"cases": [{"case": ..., "labels": {label: {"dice", "iou", "volume_ml",
        "reference_volume_ml"}}}], "mean": {label: {"dice", "iou"}, "foreground": {...}},
        "mean_over_labels": {"dice", "iou"}}``, and with surfaces ``"hd95_mm"`` and ``"nsd"``
        beside ``"iou"``. A score is None where the label is empty in both maps (HD95: in either),
        and means pass over it; ``"mean_over_labels"`` is the mean over labels of the per-label
        means, which stands in ``"mean"`` as ``"foreground"`` too where no label is called so.
    """
    scores = {
        case: {
            name: _scores(row, (surfaces or {}).get(case, {}).get(name))
            for name, row in labels.items()
        }
        for case, labels in cases.items()
    }
    measures = OVERLAP if surfaces is None else OVERLAP + SURFACE
    names = dict.fromkeys(name for labels in scores.values() for name in labels)
    means = {name: _mean_of_label(name, scores.values(), measures) for name in names}
    over_labels = {key: _mean(mean[key] for mean in means.values()) for key in measures}
    return {
        "cases": [{"case": case, "labels": labels} for case, labels in scores.items()],
        "mean": means if FOREGROUND in means else {**means, FOREGROUND: over_labels},
        MEAN: over_labels,
    }


def label_names(summary: Mapping[str, Any]) -> list[str]:
    """Names of the labels in what :func:`summarise` gave, without that of the mean."""
    return list(dict.fromkeys(name for row in summary["cases"] for name in row["labels"]))


def mean_named(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores by label of any file, with the mean over labels last and under its name of today."""
    if MEAN in scores or FOREGROUND not in scores:
        return dict(scores)
    labels = {name: score for name, score in scores.items() if name != FOREGROUND}
    return {**labels, MEAN: scores[FOREGROUND]}


def _scores(row: LabelOverlap, surface: SurfaceDistance | None) -> Scores:
    """All numbers of a case's label."""
    scores: Scores = msgspec.to_builtins(row)
    return scores if surface is None else {**scores, **msgspec.to_builtins(surface)}


def _mean_of_label(
    name: str, cases: Iterable[Mapping[str, Scores]], measures: tuple[str, ...]
) -> Scores:
    """Mean of each measure over the cases that hold the label."""
    present = [labels[name] for labels in cases if name in labels]
    return {key: _mean(row[key] for row in present) for key in measures}


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None when there are none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
