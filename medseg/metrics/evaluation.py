"""The scores of many cases as they are published: rows, means, intervals, and the rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from medseg.metrics.intervals import method_of, statistics
from medseg.metrics.measures import DISTANCES
from medseg.metrics.missing import EMPTY_IN_BOTH, EMPTY_IN_ONE, Missing, diagonal, with_missing
from medseg.metrics.overlap import overlap
from medseg.metrics.regions import by_region
from medseg.metrics.scores import Row, case_scores, means_of, measures_in
from medseg.metrics.surface import surface_distances
from medseg.volume import LabelMap


def measure_case(
    case: str,
    prediction: LabelMap,
    truth: LabelMap,
    *,
    regions: Mapping[str, Collection[int]],
    tolerance_mm: float | None,
    sized: bool = True,
    patient: str = "",
) -> Row:
    """Measure a case: its row in a scores file.

    Parameters
    ----------
    case : str
    prediction, truth : LabelMap
        On one grid, their values alike.
    regions : mapping of str to collection of int
        As :func:`~medseg.metrics.by_region` takes them; empty to measure labels.
    tolerance_mm : float or None
        Within which surfaces count as equal; None leaves surfaces out.
    sized : bool, default True
        Whether the size of a voxel is known.
    patient : str, optional
        The same word for all cases of a patient, where several are of one.

    Raises
    ------
    GeometryError
        When the two maps do not lie on the same grid.
    """
    surfaces = None
    if tolerance_mm is not None:
        measure = partial(surface_distances, tolerance_mm=tolerance_mm)
        surfaces = by_region(measure, prediction, truth, regions)
    overlaps = by_region(overlap, prediction, truth, regions)
    whose = {"patient": patient} if patient else {}
    unit = "mm" if sized else "pixels"
    labels = case_scores(overlaps, surfaces, sized=sized)
    return {"case": case, **whose, f"diagonal_{unit}": diagonal(truth.grid), "labels": labels}


def evaluation_of(
    rows: Sequence[Row], *, tolerance_mm: float | None = None, missing: Missing = "undefined"
) -> dict[str, Any]:
    """What a scores file holds.

    Parameters
    ----------
    rows : sequence of dict
        As :func:`measure_case` gives them.
    tolerance_mm : float, optional
        At which surfaces were measured; in pixels where no size is known.
    missing : {"undefined", "worst"}
        What a distance is where a label is missing in one of the maps.

    Returns
    -------
    dict
        ``"cases"``, ``"mean"`` and ``"mean_over_labels"`` as
        :func:`~medseg.metrics.summarise` has them; ``"statistics"`` as
        :func:`~medseg.metrics.statistics`; ``"intervals"``, how these were made; ``"rules"``, how
        empty maps count; and ``"has_physical_size"``, False, where a voxel's size is not known.

    Raises
    ------
    InputError
        When a worst distance is asked for and a row does not tell the image's diagonal.
    """
    rows = with_missing(rows, missing)
    rules = {"missing": missing, "empty in both": EMPTY_IN_BOTH}
    if any(key in measures_in(rows) for key in DISTANCES):
        rules["empty in one"] = EMPTY_IN_ONE[missing]
    return {
        **({} if tolerance_mm is None else {"tolerance_mm": tolerance_mm}),
        **({"has_physical_size": False} if any("diagonal_pixels" in row for row in rows) else {}),
        **means_of(rows),
        "statistics": statistics(rows),
        "intervals": method_of(rows),
        "rules": rules,
    }


def empty_rules(evaluation: Mapping[str, Any]) -> list[str]:
    """The sentences of a scores file on labels that a map does not have."""
    return [text for name, text in evaluation["rules"].items() if name.startswith("empty")]
