"""Several folds of a dataset in, one model of them out; and the best of several such runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from medseg.errors import Cancelled, InputError, MedsegError
from medseg.model_package import ModelPackage, find_package
from medseg.planning import read_plan
from medseg.training import Dataset, TrainingOptions
from medseg.workflows.outputs import check_folder
from medseg_pipelines.console import Console, duration


def resume_folds(run: Path, *, given: Mapping[str, Any], console: Console) -> ModelPackage:
    """Go on with a run of several folds.

    Parameters
    ----------
    run : Path
    given : mapping of str to object
        What the person gave besides; see :func:`medseg_pipelines.train.resume_model`.
    console : Console

    Raises
    ------
    InputError
        When there is no such run, or something else is given than it began with.
    Cancelled
        When the person stopped it; the run can be resumed again.
    """
    from medseg.training.cross_validation_folders import folds_of_run
    from medseg.training.resuming import check_same_plan, reopen_dataset, stored_options

    folds_of_run(run)
    if given.get("plan"):
        check_same_plan(run, read_plan(given["plan"]), stored_options(run))
    names = TrainingOptions.__struct_fields__
    options = TrainingOptions(**{k: value for k, value in given.items() if k in names})
    choices = {k: given.get(k) for k in ("splits", "labels", "modality", "status")}
    data = reopen_dataset(run, given.get("dataset"), **choices)
    folds, devices = given.get("folds") or "all", given.get("devices", ())
    return train_on_folds(
        data, run=run, options=options, devices=devices, console=console, folds=folds, resume=True
    )


def train_on_folds(
    data: Dataset,
    *,
    run: Path,
    options: TrainingOptions,
    devices: int | Sequence[str] = (),
    console: Console,
    **given: Any,
) -> ModelPackage:
    """Train several folds of an opened dataset and show what became of them.

    Parameters
    ----------
    data : Dataset
    run : Path
        Folder of the run, which holds one of each fold.
    options : TrainingOptions
        Of each fold.
    devices : int or sequence of str
        A process each; that many GPUs, ``("all",)`` for every one, none for one fold after another.
    console : Console
    **given
        `folds`, `plan` and `resume` of :func:`medseg.training.train_folds`.

    Raises
    ------
    InputError
        When folds, devices or options cannot be used.
    Cancelled
        When the person stopped it; the run can be resumed.
    """
    start = time.monotonic()
    names = ", ".join(data.labels.names)
    console.print(f"Dataset: {data.name}, {len(data.cases)} cases, labels {names}")
    from medseg.training import train_folds

    try:
        with console.progress("training") as progress:
            folder = train_folds(
                data, run, options=options, devices=_each(devices), progress=progress, **given
            )
    except Cancelled as stop:
        raise Cancelled(
            f"the folds so far are in '{run}'; to continue: medseg train --output '{run}' --resume"
        ) from stop
    package = find_package(folder)
    facts = package.manifest.provenance
    console.show(fold_table(package))
    if "postprocessing" in facts:
        on_others = facts.get("postprocessing on other cases", "nothing to choose by")
        console.print(f"Steps after the network: {facts['postprocessing']} ({on_others})")
    console.print(f"Label maps and scores of every case out of fold are in {run / 'out_of_fold'}")
    console.print(f"Trained {package.manifest.name} in {duration(time.monotonic() - start)}.")
    console.print(f"The model of all folds is in {folder}")
    report_or_why_not(run, data, console)
    return package


def report_or_why_not(run: Path, data: Dataset, console: Console) -> None:
    """Write the page about a run; what hinders that is told, for the model is there."""
    from medseg_pipelines.run_report import write_run_report

    try:
        console.print(f"The report is {write_run_report(run, dataset=data)}")
    except MedsegError as error:
        console.print(f"There is no report: {error}")


def _each(devices: int | Sequence[str]) -> tuple[str, ...]:
    """The devices by name: of a number so many GPUs, of ``all`` every one."""
    if not isinstance(devices, int) and tuple(devices) != ("all",):
        return tuple(devices)
    import torch

    gpus, asked = torch.cuda.device_count(), devices if isinstance(devices, int) else "all"
    if gpus < (asked if isinstance(asked, int) else 1):
        raise InputError(
            f"--devices {asked} takes GPUs and there are {gpus}; leave it out, or name devices"
        )
    return tuple(f"cuda:{number}" for number in range(gpus if asked == "all" else int(asked)))


def fold_table(package: ModelPackage) -> Table:
    """Table of the mean Dice out of fold, one row for each fold, and below their mean."""
    manifest = package.manifest
    table = Table(title="Mean Dice out of fold")
    for title in ("fold", "cases", *manifest.scores):
        table.add_column(title, justify="right")
    for fold in manifest.folds:
        dice = (fold.scores.get(name) for name in manifest.scores)
        cells = ("-" if value is None else f"{value:.3f}" for value in dice)
        table.add_row(str(fold.number), str(fold.cases), *cells)
    table.add_section()
    cases = sum(fold.cases for fold in manifest.folds)
    means = (f"{dice:.3f}" for dice in manifest.scores.values())
    table.add_row("mean over folds", str(cases), *means)
    return table


def choose_ensemble(
    runs: Sequence[Path], *, output: Path, average: bool = False, device: str, console: Console
) -> ModelPackage:
    """Compare runs of several folds out of fold, and copy the model of the best.

    Parameters
    ----------
    runs : sequence of Path
        Over the same cases.
    output : Path
        Folder of the model, to be made.
    average : bool, default False
        Whether one averaged network is taken in place of the ensemble, if it does as well on cases
        that the networks know.
    device : str
        For that trial.
    console : Console

    Raises
    ------
    InputError
        When the runs cannot be compared, or the output is there.
    """
    from medseg.training.ensemble import compare_runs, save_average, try_average

    if output.exists():
        raise InputError(f"'{output}' exists; choose a folder that is to be made")
    check_folder(output.parent)
    compared = compare_runs(runs)
    best = compared[0]
    table = Table(title=f"Out of fold: mean Dice over {len(best.cases)} cases")
    for title in ("run", "network", *best.dice):
        table.add_column(title)
    for run in compared:
        dice = (f"{run.dice[name]:.4f}" for name in best.dice)
        table.add_row(str(run.run), run.network, *dice)
    console.show(table)
    if average:
        with console.progress("comparing") as progress:
            trial = try_average(best.run, device=device, progress=progress)
        console.print(
            f"On {trial.cases} cases that all but one fold were trained on: ensemble Dice"
            f" {trial.ensemble:.4f}, averaged weights {trial.averaged:.4f}"
        )
        if trial.passed:
            save_average(output, best.run, trial)
            console.print(
                "The averaged network does as well there; measure it on new cases before you rely"
                " on it."
            )
        else:
            console.print("The averaged network does worse; the ensemble is kept.")
    if not output.exists():
        shutil.copytree(find_package(best.run).folder, output)
    console.print(f"The model of {best.run} is in {output}")
    return find_package(output)
