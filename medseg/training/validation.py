"""How good a network is on held-out cases, measured the way a user would meet it."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.inference import Predictor
from medseg.metrics import by_region, overlap, summarise
from medseg.metrics.scores import label_names
from medseg.runtime.progress import Progress, silent
from medseg.training.held_out import HeldOutCase
from medseg.training.regions import Region
from medseg.volume.label_table import MEAN


def mean_dice(
    predictor: Predictor,
    cases: Sequence[HeldOutCase],
    *,
    regions: Sequence[Region] = (),
    progress: Progress = silent,
) -> dict[str, float]:
    """Mean Dice by label or region, and over them, on the cases' own grids.

    Returns
    -------
    dict of str to float
        The mean over labels is called `MEAN`. Labels that no case holds are left out. A region
        counts with all that lies inside it.
    """
    members = {region.name: region.values for region in regions}
    rows = {}
    for done, case in enumerate(cases):
        progress(done, len(cases), "validating")
        labels = predictor.predict_prepared(case.image_CIJK, case.truth.grid, case.box)
        rows[case.name] = by_region(overlap, labels, case.truth, members)
    summary = summarise(rows)
    means = {name: summary["mean"][name] for name in label_names(summary)} | {MEAN: summary[MEAN]}
    return {name: row["dice"] for name, row in means.items() if row["dice"] is not None}
