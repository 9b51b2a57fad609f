"""How good a network is on held-out cases, measured the way a user would meet it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.inference import Predictor
from medseg.metrics import by_region, overlap, summarise
from medseg.metrics.scores import label_names
from medseg.planning.regions import Region
from medseg.runtime.progress import Progress, silent
from medseg.training.held_out import HeldOutCase
from medseg.volume.label_table import MEAN

CASES_ON_THE_WAY = 8
"""Held-out cases looked at while training; all of them at the end."""


@dataclass(frozen=True)
class Validation:
    """Held-out cases of a run, and how they are measured.

    Parameters
    ----------
    measure : callable
        Takes cases, and perhaps ``progress``; gives mean Dice by label, as :func:`mean_dice`.
    cases : tuple of HeldOutCase
        Perhaps none.
    rehearse : callable
        Does with the truth of a case what is done at the end with what is predicted of it.
    """

    measure: Callable[..., dict[str, float]]
    cases: tuple[HeldOutCase, ...]
    rehearse: Callable[[HeldOutCase], object]

    def on_the_way(self) -> dict[str, float]:
        """Scores of the first cases."""
        return self.measure(self.cases[:CASES_ON_THE_WAY])

    def at_the_end(self, progress: Progress = silent) -> dict[str, float]:
        """Scores of all cases."""
        return self.measure(self.cases, progress=progress)

    def costs(self, clock: Callable[[], float]) -> tuple[float, float]:
        """Seconds of a validation on the way, and of measuring at the end.

        Parameters
        ----------
        clock : callable
            Gives seconds.
        """
        if not self.cases:
            return 0.0, 0.0
        start = clock()
        self.measure(self.cases[:1])
        predicted = clock()
        self.rehearse(self.cases[0])
        per_case, more = predicted - start, clock() - predicted
        way = min(len(self.cases), CASES_ON_THE_WAY)
        return way * per_case, len(self.cases) * (per_case + more)


PredictorOf = Callable[[HeldOutCase], Predictor]
"""The predictor of a case, where each has that of the fold which held it out."""


def mean_dice(
    predictor: Predictor | PredictorOf,
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
        of_case = predictor(case) if callable(predictor) else predictor
        labels = of_case.predict_prepared(case.image_CIJK, case.truth.grid, case.box)
        rows[case.name] = by_region(overlap, labels, case.truth, members)
    return dice_of(summarise(rows))


def dice_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Mean Dice by label, and over labels as `MEAN`, of what `summarise` gave; no empty ones."""
    means = {name: summary["mean"][name] for name in label_names(summary)} | {MEAN: summary[MEAN]}
    return {name: row["dice"] for name, row in means.items() if row["dice"] is not None}
