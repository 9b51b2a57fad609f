"""A run of several folds, one fold of it alone, and what it gives."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.evaluation import Printer

from medseg.errors import Cancelled
from medseg.inference import Predictor
from medseg.model_package import ModelPackage
from medseg.training import Dataset, TrainingOptions, train, train_folds
from medseg.training.run_status import OPTIONS

SCORES = Path("out_of_fold") / "scores.json"


def train_all(dataset: Dataset, run: Path, options: TrainingOptions, folds: Sequence[int]) -> Path:
    """Train the folds, go on with what is there, or return the folder of the finished model."""
    return _train_folds(dataset, run, options, folds, Printer())


def train_one_fold(
    dataset: Dataset, run: Path, options: TrainingOptions, folds: Sequence[int], number: int
) -> None:
    """Train one fold of a run of several, which is set up first, or go on with it."""

    def until_a_fold_begins(done: int, total: int, message: str, /) -> None:
        if message.startswith("fold "):
            raise Cancelled("set up")

    with contextlib.suppress(Cancelled):
        _train_folds(dataset, run, options, folds, until_a_fold_begins)
    device = TrainingOptions(device=options.device)
    train(dataset, run / f"fold_{number}", options=device, resume=True, progress=Printer())


def _train_folds(
    dataset: Dataset, run: Path, options: TrainingOptions, folds: Sequence[int], progress: Any
) -> Path:
    resume = _is_begun(run)
    asked = TrainingOptions(device=options.device) if resume else options
    return train_folds(
        dataset, run, folds=tuple(folds), options=asked, resume=resume, progress=progress
    )


def train_or_go_on(dataset: Dataset, run: Path, options: TrainingOptions) -> Path:
    """Train into a folder, go on with what is there, or return what is finished."""
    return train(dataset, run, options=options, resume=_is_begun(run), progress=Printer())


def _is_begun(run: Path) -> bool:
    """Whether a run can be gone on with; what is left of one that cannot is removed."""
    if (run / OPTIONS).is_file():
        return True
    shutil.rmtree(run, ignore_errors=True)
    return False


def predictors_by_case(run: Path, scores: dict[str, Any], device: str) -> dict[str, Predictor]:
    """For each case, the predictor of the fold that held it out."""
    predictors: dict[str, Predictor] = {}
    for fold in scores["folds"]:
        model = run / f"fold_{fold['fold']}" / "model"
        predictors |= dict.fromkeys(fold["cases"], Predictor.load(model, device=device))
    return predictors


def dice_rows(scores: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Dice by label and case; without those that are empty in both maps."""
    rows: dict[str, dict[str, float]] = {}
    for row in scores["cases"]:
        for label, measures in row["labels"].items():
            if measures["dice"] is not None:
                rows.setdefault(label, {})[row["case"]] = measures["dice"]
    return rows


def size_of(package: ModelPackage) -> int:
    """Bytes of all files of a package."""
    return sum(path.stat().st_size for path in package.folder.iterdir())
