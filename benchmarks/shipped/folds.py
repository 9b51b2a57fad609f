"""A model of each fold, and the scores of every case by the one that did not see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from tasks.evaluation import Printer

from medseg.inference import Predictor
from medseg.metrics import overlap, summarise
from medseg.training import Dataset, TrainingOptions, train
from medseg.training.run_status import OPTIONS
from medseg.writing import write_text

SCORES = Path("out_of_fold") / "scores.json"
RESAMPLES = 2000


def train_or_go_on(dataset: Dataset, run: Path, options: TrainingOptions) -> Path:
    """Train into a folder, go on with what is there, or return what is finished."""
    resume = (run / OPTIONS).is_file()
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    return train(dataset, run, options=options, resume=resume, progress=Printer())


def fold_models(
    dataset: Dataset, run: Path, options: TrainingOptions, folds: Sequence[int]
) -> dict[str, Predictor]:
    """Train ``run/fold_N`` for each fold; by case, the predictor of the fold that held it out.

    Parameters
    ----------
    dataset : Dataset
    run : Path
    options : TrainingOptions
        Of every fold; its own `fold` does not count.
    folds : sequence of int
    """
    predictors: dict[str, Predictor] = {}
    for number in folds:
        print(f"== {run.name}, fold {number}", flush=True)
        one = structs.replace(options, fold=number)
        model = train_or_go_on(dataset, run / f"fold_{number}", one)
        predictor = Predictor.load(model, device=options.device)
        predictors |= {case.name: predictor for case in dataset.fold(number)[1]}
    return predictors


def out_of_fold(dataset: Dataset, run: Path, predictors: dict[str, Predictor]) -> dict[str, Any]:
    """What `summarise` makes of all held-out cases; kept in ``out_of_fold/scores.json``."""
    target = run / SCORES
    kept = json.loads(target.read_text()) if target.is_file() else {"cases": []}
    if {row["case"] for row in kept["cases"]} == set(predictors):
        return dict(kept)
    rows = {}
    for case in dataset.cases:
        if case.name in predictors:
            scan, truth = dataset.read(case)
            rows[case.name] = overlap(predictors[case.name].predict(scan), truth)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, json.dumps(summarise(rows), indent=1) + "\n")
    return dict(json.loads(target.read_text()))


def dice_rows(summary: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Dice by label and case; without those that are empty in both maps."""
    rows: dict[str, dict[str, float]] = {}
    for row in summary["cases"]:
        for label, scores in row["labels"].items():
            if scores["dice"] is not None:
                rows.setdefault(label, {})[row["case"]] = scores["dice"]
    return rows


def interval(dice: dict[str, float], groups: dict[str, str]) -> tuple[float, float]:
    """Percentile bootstrap interval of 95 % of the mean, drawing groups of cases (patients).

    Parameters
    ----------
    dice : dict of str to float
        By case.
    groups : dict of str to str
        By case; a case that is not there is a group of its own.
    """
    members: dict[str, list[float]] = {}
    for case, value in dice.items():
        members.setdefault(groups.get(case, case), []).append(value)
    sums = np.array([(sum(values), len(values)) for values in members.values()])
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], (2.5, 97.5))
    return float(low), float(high)
