"""The folder of a run of several folds: which they are, and the run of each within it.

Each fold is a run like any other, in a folder of its own that is resumed by itself. What is the
same for all lies above: the plan, the digests of the files, and the prepared cases.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import structs

from medseg.errors import InputError
from medseg.model_package import ModelPackage
from medseg.model_package.manifest import fold_name
from medseg.planning import Plan
from medseg.planning.plan import decode, encode
from medseg.training.dataset import Dataset
from medseg.training.dataset_check import DatasetReport, report_on
from medseg.training.dataset_findings import Sides
from medseg.training.fine_tuning import FILE as PARENT
from medseg.training.first_look import RECORD
from medseg.training.options import TrainingOptions
from medseg.training.resuming import is_finished, stored_options
from medseg.training.run_folder import create_run_folder
from medseg.training.run_status import FOLDS, IDENTITY, MODEL, OPTIONS, PLAN, SOURCE
from medseg.writing import write_bytes

AllFolds = Literal["all"]


class FoldRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file ``folds.json`` of a run of several folds.

    Parameters
    ----------
    folds : tuple of int
        Their numbers.
    """

    folds: tuple[int, ...]


def folds_of_run(run: Path) -> tuple[int, ...]:
    """The folds of a run that is there.

    Raises
    ------
    InputError
        When it has not several.
    """
    file = run / FOLDS
    if file.is_file():
        return decode(file.read_bytes(), FoldRun, where=str(file)).folds
    if (run / OPTIONS).is_file():
        fold = stored_options(run).fold
        which = "all cases, with none held out" if fold is None else f"fold {fold} alone"
        raise InputError(
            f"the run in '{run}' is of {which}; train several folds in another folder, or leave"
            " --folds out",
            code="ONE_FOLD",
        )
    raise InputError(f"'{run}' holds no run of several folds to go on with")


def fold_folder(run: Path, number: int) -> Path:
    """Folder of a fold's own run."""
    return run / fold_name(number)


def chosen_folds(dataset: Dataset, folds: Sequence[int] | AllFolds) -> tuple[int, ...]:
    """The folds to train, once each can be trained and scored.

    Parameters
    ----------
    dataset : Dataset
    folds : sequence of int or "all"

    Raises
    ------
    InputError
        When one is not there, leaves or holds out no case, or shares a held-out case with another.
    """
    have = len(dataset.folds)
    numbers = tuple(range(have)) if folds == "all" else tuple(sorted(set(folds)))
    wrong = [number for number in numbers if not 0 <= number < have]
    if wrong:
        raise InputError(
            f"fold {wrong[0]} does not exist: '{dataset.name}' has {have}, numbered from 0"
            f"{_why_so_few(dataset)}; give --folds all, or other folds (--splits)"
        )
    if len(numbers) < 2:
        raise InputError(
            f"several folds are to be trained, and '{folds}' of '{dataset.name}' is"
            f" {len(numbers)}{_why_so_few(dataset)}; train one with --fold, or add cases"
        )
    owner: dict[str, int] = {}
    for number in numbers:
        _, held_out = dataset.fold(number)
        if not held_out:
            raise InputError(
                f"fold {number} holds out no case, so it has no score; name some in it (--splits),"
                " or leave the fold out"
            )
        for case in held_out:
            if case.name in owner:
                raise InputError(
                    f"folds {owner[case.name]} and {number} both hold out '{case.name}', which is"
                    " to be predicted once; give folds that share none (--splits)"
                )
            owner[case.name] = number
    return numbers


def _why_so_few(dataset: Dataset) -> str:
    """How many cases and patients there are, as more folds need more."""
    in_groups = sum(len(group) for group in dataset.patients)
    patients = len(dataset.cases) - in_groups + len(dataset.patients)
    return f" ({len(dataset.cases)} cases of {patients} patients)"


def fold_reports(
    dataset: Dataset, looked: DatasetReport, numbers: Sequence[int], plan: Plan | None
) -> dict[int, DatasetReport]:
    """What there is to say of each fold, from one look at the cases; warned of once.

    Parameters
    ----------
    dataset : Dataset
    looked : DatasetReport
        On the whole.
    numbers : sequence of int
    plan : Plan or None

    Raises
    ------
    InputError
        When a fold's training would stop, or learn what is wrong.
    """
    reports = {n: report_on(dataset, looked.cases, Sides.of(dataset, n), plan) for n in numbers}
    messages = {finding.message for finding in looked.findings}
    for report in reports.values():
        report.check()
        for finding in report.of("warning"):
            if finding.message not in messages:
                messages.add(finding.message)
                warnings.warn(finding.message, stacklevel=2)
    return reports


def set_up_folds(
    run: Path, options: TrainingOptions, plan: Plan, reports: dict[int, DatasetReport]
) -> None:
    """Make each fold's run, as one that was stopped before its first step, or bring it up to date.

    Parameters
    ----------
    run : Path
        With the identity of the dataset in it, and what it starts from.
    options : TrainingOptions
    plan : Plan
        Of every fold.
    reports : dict of int to DatasetReport
    """
    shared = {name: run / name for name in (IDENTITY, SOURCE, PARENT)}
    files = {name: path.read_bytes() for name, path in shared.items() if path.is_file()}
    for number, report in reports.items():
        folder = fold_folder(run, number)
        own = {**files, PLAN: encode(plan), RECORD: encode(report)}
        if (folder / OPTIONS).is_file():
            for name in (IDENTITY, RECORD):
                write_bytes(folder / name, own[name])
            continue
        shutil.rmtree(folder, ignore_errors=True)
        of_fold = structs.replace(options, fold=number, postprocess=False)
        create_run_folder(folder, of_fold, own)


def fold_model(run: Path, number: int) -> ModelPackage | None:
    """The model of a fold whose training is over; None before."""
    folder = fold_folder(run, number)
    if (folder / OPTIONS).is_file() and is_finished(folder, stored_options(folder)):
        return ModelPackage.open(folder / MODEL)
    return None


def is_whole(run: Path, numbers: Sequence[int], options: TrainingOptions) -> bool:
    """Whether every fold is trained and the run's model is made of what they are now."""
    if not (run / MODEL / "manifest.json").is_file():
        return False
    manifest = ModelPackage.open(run / MODEL).manifest
    models = [fold_model(run, number) for number in numbers]
    now = [model.manifest.weights.sha256 for model in models if model is not None]
    searched = "postprocessing" in manifest.provenance or not options.postprocess
    return searched and [fold.sha256 for fold in manifest.folds] == now
