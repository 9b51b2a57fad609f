"""How good a network is on held-out cases, measured the way a user would meet it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from medseg.inference import Predictor
from medseg.measuring.ignoring import leave_out_ignored
from medseg.measuring.overlap import LabelOverlap, overlap
from medseg.measuring.scores import summarise
from medseg.runtime.progress import Progress, silent
from medseg.training.dataset import Case, Dataset
from medseg.training.regions import Region
from medseg.volume import LabelMap, LabelTable


def mean_dice(
    predictor: Predictor,
    dataset: Dataset,
    cases: Iterable[Case],
    *,
    progress: Progress = silent,
) -> dict[str, float]:
    """Mean Dice by label or region, and ``"foreground"``, over cases on their own grids.

    Parameters
    ----------
    predictor : Predictor
        The model.
    dataset : Dataset
        Reads the cases.
    cases : iterable of Case
        Held-out cases.
    progress : Progress, optional
        Called after every case.

    Returns
    -------
    dict of str to float
        Labels that no case holds are left out. A region counts with all that lies inside it.
    """
    chosen = tuple(cases)
    rows = {}
    for done, case in enumerate(chosen):
        progress(done, len(chosen), "validating")
        scan, truth = dataset.read(case)
        rows[case.name] = _scores(predictor.predict(scan), truth, dataset.regions)
    means = summarise(rows)["mean"]
    return {name: row["dice"] for name, row in means.items() if row["dice"] is not None}


def _scores(
    prediction: LabelMap, truth: LabelMap, regions: tuple[Region, ...]
) -> dict[str, LabelOverlap]:
    """Overlap by region, or by label when there are none."""
    if not regions:
        return overlap(prediction, truth)
    judged = leave_out_ignored(prediction, truth)
    scores: dict[str, LabelOverlap] = {}
    for region in regions:
        found, true = (_alone(one, region) for one in judged)
        scores |= overlap(found, true)
    return scores


def _alone(labels: LabelMap, region: Region) -> LabelMap:
    """A map of one region and background."""
    inside = np.isin(labels.values, list(region.values)).astype(np.uint8)
    return replace(labels, values=inside, table=LabelTable.of({1: region.name}))
