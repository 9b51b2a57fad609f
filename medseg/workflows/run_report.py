"""What the report of a training run shows, gathered from its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from medseg.discovery.json_file import read_json
from medseg.errors import InputError, MedsegError
from medseg.metrics import evaluation_of
from medseg.metrics.scores import Row, mean, measures_in
from medseg.model_package import ModelPackage, find_package
from medseg.planning import Plan
from medseg.reading import read_labels
from medseg.training import Dataset
from medseg.training.cross_validation_folders import fold_folder
from medseg.training.history import read_history
from medseg.training.options import TrainingOptions
from medseg.training.resuming import reopen_dataset, stored_options
from medseg.training.run_identity import read_identity
from medseg.training.run_status import MODEL
from medseg.volume import LabelTable
from medseg.volume.label_table import MEAN
from medseg.workflows.charts import box_plots, curves
from medseg.workflows.figures import overlay
from medseg.workflows.scores_file import scores_of_run

REPORT = "report.html"
"""The page's name in the folder of its run."""
_DIGITS = 16


@dataclass(frozen=True)
class CasePicture:
    """A held-out case to look at.

    Parameters
    ----------
    role : str
        Such as "best".
    case : str
    dice : float
        Mean over the labels.
    png : bytes
    """

    role: str
    case: str
    dice: float
    png: bytes


@dataclass(frozen=True)
class RunReport:
    """A finished run.

    Parameters
    ----------
    name : str
        Of the model.
    plan : Plan
    labels : LabelTable
    evaluation : dict or None
        Of the held-out cases, as :func:`medseg.metrics.evaluation_of`; None when there are none.
    curves : dict of str to bytes
        PNG files by title, one for each fold that was trained.
    boxes : bytes
        A PNG file; empty where there is nothing to draw.
    pictures : tuple of CasePicture
    facts : dict of str to str
        How the model came about.
    notes : tuple of str
        What is left out, and why.
    """

    name: str
    plan: Plan
    labels: LabelTable
    evaluation: dict[str, Any] | None
    curves: dict[str, bytes]
    boxes: bytes
    pictures: tuple[CasePicture, ...]
    facts: dict[str, str]
    notes: tuple[str, ...]


def report_of(run: Path, dataset: Dataset | None = None) -> RunReport:
    """Gather what the report of a finished run shows.

    Parameters
    ----------
    run : Path
    dataset : Dataset, optional
        What it was trained on; without it the run's own is looked for where it was.

    Raises
    ------
    InputError
        When the run has no model yet.
    """
    if not (run / MODEL / "manifest.json").is_file():
        raise InputError(
            f"'{run}' holds no finished training; give the --output of a medseg train that ended",
            code="NO_RUN",
        )
    package, notes = find_package(run), []
    file = scores_of_run(run)
    evaluation: dict[str, Any] | None = None
    pictures: tuple[CasePicture, ...] = ()
    if file is None:
        notes.append("No case was held out, so nothing was measured.")
    else:
        evaluation = _evaluation(file)
        try:
            opened = dataset or reopen_dataset(run, None)
            pictures = tuple(_pictures(evaluation["cases"], opened, package, file.parent))
        except (MedsegError, OSError):
            notes.append("There are no pictures, for the scans of the dataset are not there.")
    return RunReport(
        name=package.manifest.name,
        plan=package.manifest.plan,
        labels=package.manifest.labels,
        evaluation=evaluation,
        curves=_curves(run, package),
        boxes=box_plots(evaluation["cases"], _drawn(evaluation)) if evaluation else b"",
        pictures=pictures,
        facts=_facts(run, package),
        notes=tuple(notes),
    )


def typical_cases(rows: Sequence[Row]) -> dict[str, tuple[str, float]]:
    """Name and mean Dice of the best, the median and the worst case; fewer of fewer cases."""
    dice = {
        row["case"]: mean(label.get("dice") for label in row["labels"].values()) for row in rows
    }
    ranked = sorted(
        ((value, case) for case, value in dice.items() if value is not None), reverse=True
    )
    if not ranked:
        return {}
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    cases: dict[int, str] = {}
    for role, rank in places.items():
        cases.setdefault(rank, role)
    return {role: (ranked[rank][1], ranked[rank][0]) for rank, role in cases.items()}


def _evaluation(file: Path) -> dict[str, Any]:
    """What the file holds, with intervals where it was written without."""
    content = read_json(file)
    if "statistics" in content:
        return content
    return evaluation_of(content["cases"], tolerance_mm=content.get("tolerance_mm"))


def _drawn(evaluation: Mapping[str, Any]) -> list[str]:
    """The measures of the box plots."""
    there = measures_in(evaluation["cases"])
    return [key for key in ("dice", "hd95_mm", "hd95_pixels") if key in there]


def _pictures(
    rows: Sequence[Row], dataset: Dataset, package: ModelPackage, folder: Path
) -> Iterator[CasePicture]:
    """Scans with what the model drew and what is true."""
    cases = {case.name: case for case in dataset.cases}
    for role, (name, dice) in typical_cases(rows).items():
        scan, truth = dataset.read(cases[name])
        labels = read_labels(folder / f"{name}.nii.gz", table=package.manifest.labels)
        yield CasePicture(role, name, dice, overlay(scan, labels, truth=truth))


def _curves(run: Path, package: ModelPackage) -> dict[str, bytes]:
    """The curves of each training of the run; of one without a history none."""
    runs = {
        f"Training of fold {fold.number}": fold_folder(run, fold.number)
        for fold in package.manifest.folds
    }
    histories = {
        title: read_history(folder) for title, folder in (runs or {"Training": run}).items()
    }
    return {title: curves(history) for title, history in histories.items() if history}


def _facts(run: Path, package: ModelPackage) -> dict[str, str]:
    """Where the model comes from: no path of this machine, no person."""
    facts = dict(package.manifest.provenance)
    for fold in package.manifest.folds:
        dice = f"{fold.scores[MEAN]:.3f}" if MEAN in fold.scores else "none"
        facts[f"mean Dice of fold {fold.number}"] = f"{dice}, {fold.cases} cases"
    identity = read_identity(run)
    if identity is not None:
        text = "\n".join(
            f"{name} {identity.images[name]} {identity.label_maps[name]}"
            for name in sorted(identity.images)
        )
        facts["dataset's SHA-256"] = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
        facts["cases in the dataset"] = str(len(identity.images))
    facts["options"] = _options_of(stored_options(run)) or "none"
    return facts


def _options_of(options: TrainingOptions) -> str:
    """What is not as where nobody says anything; of a file its name alone."""
    defaults, given = structs.asdict(TrainingOptions()), structs.asdict(options)
    return ", ".join(
        f"{name} {_without_folder(value)}"
        for name, value in given.items()
        if value != defaults[name] and name != "recipe"  # which is told as a sentence
    )


def _without_folder(value: Any) -> str:
    """A value as text; of a path, what comes last."""
    return Path(value).name if isinstance(value, str) else str(value)
