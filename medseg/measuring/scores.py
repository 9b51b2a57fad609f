"""Scores of many cases in one table, ready for a JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from medseg.measuring.overlap import LabelOverlap

_MEASURES = ("dice", "iou")


def summarise(cases: Mapping[str, Mapping[str, LabelOverlap]]) -> dict[str, Any]:
    """Scores per case and their means.

    Parameters
    ----------
    cases : mapping of str to mapping of str to LabelOverlap
        Case name to what :func:`~medseg.measuring.overlap` gave for it.

    Returns
    -------
    dict
        ``{"cases": [{"case": ..., "labels": {label: {"dice", "iou", "volume_ml",
        "reference_volume_ml"}}}], "mean": {label: {"dice", "iou"}, "foreground": {...}}}``.
        A score is None where the label is empty in both maps, and means pass over it;
        ``"foreground"`` is the mean over labels of the per-label means.
    """
    rows = [
        {"case": case, "labels": {name: msgspec.to_builtins(one) for name, one in labels.items()}}
        for case, labels in cases.items()
    ]
    names = dict.fromkeys(name for labels in cases.values() for name in labels)
    means = {name: _mean_of_label(name, cases.values()) for name in names}
    foreground = {key: _mean(mean[key] for mean in means.values()) for key in _MEASURES}
    return {"cases": rows, "mean": {**means, "foreground": foreground}}


def _mean_of_label(
    name: str, cases: Iterable[Mapping[str, LabelOverlap]]
) -> dict[str, float | None]:
    """Mean of each measure over the cases that hold the label."""
    present = [labels[name] for labels in cases if name in labels]
    return {key: _mean(getattr(one, key) for one in present) for key in _MEASURES}


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None when there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
