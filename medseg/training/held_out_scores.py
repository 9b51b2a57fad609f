"""Held-out cases at the end of a run: a label map of each, and scores as evaluation gives them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medseg.errors import WriteError, reason
from medseg.inference import Predictor
from medseg.metrics import evaluation_of, measure_case
from medseg.planning.plan import decode
from medseg.runtime.progress import Progress, silent
from medseg.training.dataset import Dataset
from medseg.training.dataset_check import DatasetReport
from medseg.training.first_look import RECORD
from medseg.training.held_out import HeldOutCase
from medseg.training.patients import patient_of_case
from medseg.writing import write_labels, write_text

FOLDER, SCORES = "held_out", "scores.json"
TOLERANCE_MM = 1.0
"""Within which surfaces count as equal, as where ``medseg evaluate`` is not told otherwise."""


def rehearse(run: Path, dataset: Dataset, case: HeldOutCase) -> None:
    """Write and measure the truth of a case as what is predicted will be, and keep nothing.

    How long that takes does not hang on how good a network is that has hardly begun.

    Raises
    ------
    WriteError
        When the file cannot be written.
    """
    try:
        folder = TemporaryDirectory(dir=run)
    except OSError as error:
        raise WriteError(f"cannot write to '{run}': {reason(error)}") from error
    with folder as temporary:
        write_labels(case.truth, Path(temporary) / f"{case.name}.nii.gz")
        regions = {region.name: region.values for region in dataset.regions}
        measure_case(case.name, case.truth, case.truth, regions=regions, tolerance_mm=TOLERANCE_MM)


def measure_held_out(
    run: Path,
    predictor: Predictor,
    cases: Sequence[HeldOutCase],
    dataset: Dataset,
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Predict and measure held-out cases; nothing is written when there are none.

    Parameters
    ----------
    run : Path
        Its folder ``held_out`` takes a label map of every case, and ``scores.json``.
    predictor : Predictor
        Without postprocessing.
    cases : sequence of HeldOutCase
    dataset : Dataset
        Theirs; its regions are measured in place of labels.
    progress : Progress, optional
        Called before each case; may raise `Cancelled`.

    Returns
    -------
    dict
        As :func:`medseg.metrics.evaluation_of` gives it.

    Raises
    ------
    WriteError
        When a file cannot be written.
    """
    folder, rows = run / FOLDER, []
    regions = {region.name: region.values for region in dataset.regions}
    patients, unsized = patient_of_case(dataset.patients), _without_size(run)
    for done, case in enumerate(cases):
        progress(done, len(cases), "measuring held-out cases")
        labels = predictor.predict_prepared(case.image_CIJK, case.truth.grid, case.box)
        _make(folder)
        write_labels(labels, folder / f"{case.name}.nii.gz")
        rows.append(
            measure_case(
                case.name,
                labels,
                case.truth,
                regions=regions,
                tolerance_mm=TOLERANCE_MM,
                sized=case.name not in unsized,
                patient=patients.get(case.name, ""),
            )
        )
    evaluation = evaluation_of(rows, tolerance_mm=TOLERANCE_MM)
    if rows:
        write_text(folder / SCORES, json.dumps(evaluation, indent=1) + "\n")
    return evaluation


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot write to '{folder}': {reason(error)}") from error


def _without_size(run: Path) -> set[str]:
    """Cases of which no size in mm is known, by the look at them before the first step."""
    file = run / RECORD
    if not file.is_file():
        return set()
    report = decode(file.read_bytes(), DatasetReport, where=str(file))
    return {facts.name for facts in report.cases if not facts.has_physical_size}
