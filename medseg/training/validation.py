"""How good a network is on held-out cases, measured the way a user would meet it."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.inference import Predictor
from medseg.metrics import by_region, overlap, summarise
from medseg.metrics.scores import FOREGROUND, MEAN
from medseg.runtime.progress import Progress, silent
from medseg.training.held_out import HeldOutCase
from medseg.training.regions import Region


def mean_dice(
    predictor: Predictor,
    cases: Sequence[HeldOutCase],
    *,
    regions: Sequence[Region] = (),
    progress: Progress = silent,
) -> dict[str, float]:
    """Mean Dice by label or region, and ``"foreground"``, over cases on their own grids.

    Returns
    -------
    dict of str to float
        Labels that no case holds are left out. A region counts with all that lies inside it.
    """
    members = {region.name: region.values for region in regions}
    rows = {}
    for done, case in enumerate(cases):
        progress(done, len(cases), "validating")
        labels = predictor.predict_prepared(case.image_CIJK, case.truth.grid)
        rows[case.name] = by_region(overlap, labels, case.truth, members)
    summary = summarise(rows)
    means = {**summary["mean"], FOREGROUND: summary[MEAN]}
    return {name: row["dice"] for name, row in means.items() if row["dice"] is not None}
