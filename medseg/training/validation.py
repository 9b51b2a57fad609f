"""How good a network is on held-out cases, measured the way a user would meet it."""

from __future__ import annotations

from collections.abc import Iterable

from medseg.inference import Predictor
from medseg.metrics import by_region, overlap, summarise
from medseg.runtime.progress import Progress, silent
from medseg.training.dataset import Case, Dataset


def mean_dice(
    predictor: Predictor,
    dataset: Dataset,
    cases: Iterable[Case],
    *,
    progress: Progress = silent,
) -> dict[str, float]:
    """Mean Dice by label or region, and ``"foreground"``, over cases on their own grids.

    Returns
    -------
    dict of str to float
        Labels that no case holds are left out. A region counts with all that lies inside it.
    """
    chosen = tuple(cases)
    regions = {region.name: region.values for region in dataset.regions}
    rows = {}
    for done, case in enumerate(chosen):
        progress(done, len(chosen), "validating")
        scan, truth = dataset.read(case)
        rows[case.name] = by_region(overlap, predictor.predict(scan), truth, regions)
    means = summarise(rows)["mean"]
    return {name: row["dice"] for name, row in means.items() if row["dice"] is not None}
