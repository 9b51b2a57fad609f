"""Every case as the network predicted it that did not see it: label maps, and scores by fold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import ReadError, WriteError, reason
from medseg.metrics import evaluation_of
from medseg.metrics.scores import means_of
from medseg.runtime.progress import Progress, silent
from medseg.training import held_out_scores
from medseg.training.cross_validation_folders import fold_folder
from medseg.training.held_out_scores import SCORES, TOLERANCE_MM
from medseg.training.validation import dice_of
from medseg.writing import write_text

FOLDER = "out_of_fold"


def collect_out_of_fold(
    run: Path, numbers: Sequence[int], *, progress: Progress = silent
) -> dict[int, dict[str, float]]:
    """Put what every fold predicted of the cases it held out into one folder.

    Parameters
    ----------
    run : Path
        Its folder ``out_of_fold`` takes a label map of every case, without postprocessing, and
        ``scores.json``, as evaluation gives it and with the scores of each fold.
    numbers : sequence of int
        Of the folds, which are trained.
    progress : Progress, optional
        Called before each fold; may raise `Cancelled`.

    Returns
    -------
    dict of int to dict of str to float
        For each fold, the mean Dice over its cases by label, the mean over labels last.

    Raises
    ------
    ReadError
        When the scores of a fold are gone or broken.
    WriteError
        When a file cannot be written.
    """
    rows_of = {number: _rows(fold_folder(run, number)) for number in numbers}
    for done, (number, rows) in enumerate(rows_of.items()):
        progress(done, len(rows_of), "collecting the folds")
        _copy_maps(fold_folder(run, number), run / FOLDER, [row["case"] for row in rows])
    by_fold = {number: dice_of(means_of(rows)) for number, rows in rows_of.items()}
    folds = [
        {"fold": number, "cases": [row["case"] for row in rows], "dice": by_fold[number]}
        for number, rows in rows_of.items()
    ]
    every = sorted((row for rows in rows_of.values() for row in rows), key=lambda row: row["case"])
    scores = {**evaluation_of(every, tolerance_mm=TOLERANCE_MM), "folds": folds}
    write_text(run / FOLDER / SCORES, json.dumps(scores, indent=1) + "\n")
    return by_fold


def _rows(fold: Path) -> list[dict[str, Any]]:
    """The measured cases of a fold."""
    file = fold / held_out_scores.FOLDER / SCORES
    try:
        rows: list[dict[str, Any]] = json.loads(file.read_bytes())["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(
            f"'{file}' has no scores of the fold ({reason(error)}); remove the folder of this fold"
            " and go on with --resume, which trains it again"
        ) from error
    return rows


def _copy_maps(fold: Path, folder: Path, names: Sequence[str]) -> None:
    try:
        folder.mkdir(exist_ok=True)
        for name in names:
            file = f"{name}.nii.gz"
            shutil.copyfile(fold / held_out_scores.FOLDER / file, folder / file)
    except OSError as error:
        raise WriteError(f"cannot write to '{folder}': {reason(error)}") from error


def mean_over_folds(by_fold: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Mean of each score over the folds that have it, in the order of the first."""
    names = dict.fromkeys(name for scores in by_fold.values() for name in scores)
    rows = {name: [s[name] for s in by_fold.values() if name in s] for name in names}
    return {name: sum(values) / len(values) for name, values in rows.items()}
