"""``validation/summary.json`` of nnU-Net v2: what each fold scored on the cases it did not see."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import PackageError
from medseg.model_package.interop.nnunet.dataset import Meaning
from medseg.model_package.interop.nnunet.folders import read_json
from medseg.model_package.manifest import FoldScores


def fold_scores(checkpoint: Path, fold: str, meaning: Meaning) -> FoldScores:
    """Mean Dice of a fold by label name, where its validation is there.

    Parameters
    ----------
    checkpoint : Path
    fold : str
    meaning : Meaning
    """
    try:
        summary = read_json(checkpoint.parent / "validation" / "summary.json")
        means, cases = summary["mean"], len(summary["metric_per_case"])
        dice = {name: means[key]["Dice"] for key, name in meaning.structures.items()}
        scores = {name: round(float(value), 5) for name, value in dice.items()}
    except (PackageError, KeyError, TypeError, ValueError):
        cases, scores = 0, {}
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FoldScores(
        number=int(fold) if fold.isdecimal() else 0,
        cases=cases,
        scores={name: value for name, value in scores.items() if math.isfinite(value)},
        sha256=digest,
    )


def mean_scores(folds: Sequence[FoldScores]) -> dict[str, float]:
    """Mean over the folds of those labels that all of them scored."""
    names = [name for name in folds[0].scores if all(name in fold.scores for fold in folds)]
    return {name: round(sum(fold.scores[name] for fold in folds) / len(folds), 5) for name in names}
