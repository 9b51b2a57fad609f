"""Scores of cases, read back: from a file of an evaluation, or from a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from medseg.discovery.json_file import read_json
from medseg.errors import InputError
from medseg.metrics.scores import Row

FILE = "scores.json"
FOLDERS = ("out_of_fold", "held_out")
"""Where a run keeps the scores of cases that it did not learn from; all folds before one."""


class _Row(msgspec.Struct):
    case: str
    labels: dict[str, dict[str, float | None]]


class _Scores(msgspec.Struct):
    cases: list[_Row]


@dataclass(frozen=True)
class ScoredCases:
    """Scores of one model.

    Parameters
    ----------
    name : str
        What the model is called in sentences.
    rows : tuple of dict
        As :func:`medseg.metrics.measure_case` gives them.
    tolerance_mm : float or None
        At which surfaces were measured.
    """

    name: str
    rows: tuple[Row, ...]
    tolerance_mm: float | None = None


def scores_of_run(run: Path) -> Path | None:
    """The file with the scores of the cases that a run held out; None when there is none."""
    files = (run / folder / FILE for folder in FOLDERS)
    return next((file for file in files if file.is_file()), None)


def read_scores(path: Path) -> ScoredCases:
    """Scores of a file that ``medseg evaluate`` wrote, or of a training run.

    Raises
    ------
    InputError
        When there are none, a case is there twice, or a score is no number.
    """
    if not path.exists():
        raise InputError(f"there is no '{path}'; check the path")
    file = scores_of_run(path) if path.is_dir() else path
    if file is None:
        raise InputError(
            f"'{path}' holds no scores of held-out cases ({FOLDERS[1]}/{FILE}); give a finished"
            f" training run, a {FILE}, or for folders of label maps --truth too",
            code="NO_SCORES",
        )
    content = read_json(file)
    try:
        msgspec.convert(content, _Scores)
    except msgspec.ValidationError as error:
        raise InputError(
            f"'{file}' is no scores file of medseg: {error}; give what medseg evaluate wrote",
            code="NO_SCORES",
        ) from error
    rows = tuple(content["cases"])
    _check(rows, file)
    name = path.parent.name if path.name == FILE else path.stem
    return ScoredCases(name or path.stem, rows, content.get("tolerance_mm"))


def _check(rows: tuple[dict[str, Any], ...], file: Path) -> None:
    """Refuse a case that is there twice, and a score that is no number."""
    seen = set()
    for row in rows:
        if row["case"] in seen:
            raise InputError(f"'{file}' has the case '{row['case']}' twice; one of them is right")
        seen.add(row["case"])
        for label, scores in row["labels"].items():
            for key, value in scores.items():
                if value is not None and not math.isfinite(value):
                    raise InputError(
                        f"'{file}': {key} of label '{label}' in case '{row['case']}' is {value},"
                        " which is no score; evaluate that case again",
                        code="NO_NUMBER",
                    )
