"""A dataset in, a model package out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from medseg.errors import Cancelled, InputError
from medseg.model_package import ModelPackage, find_package
from medseg.planning import Plan, read_plan
from medseg.planning.plan import decode
from medseg.training import Dataset, TrainingOptions, open_dataset
from medseg.training.case_folder import Status
from medseg.training.fine_tuning import score_before
from medseg.training.run_folder import is_free
from medseg.volume.label_table import MEAN
from medseg.workflows.outputs import check_folder
from medseg_pipelines.console import Console, duration
from medseg_pipelines.folds import report_or_why_not, train_on_folds

if TYPE_CHECKING:
    from medseg.training.own_parts import Callback


def train_model(
    dataset: Path,
    *,
    run: Path,
    options: TrainingOptions,
    splits: Path | None = None,
    labels: Path | None = None,
    modality: str | None = None,
    plan: Path | None = None,
    status: Status = "reviewed",
    folds: tuple[int, ...] | str | None = None,
    devices: int | Sequence[str] = (),
    console: Console,
) -> ModelPackage:
    """Train a network, or one on each of several folds, and show what became of it.

    Parameters
    ----------
    dataset : Path
        In a layout of `medseg.discovery.layouts`, or a CSV or JSON list of cases.
    run : Path
        Folder for plan, checkpoints, history and the finished model.
    options : TrainingOptions
        What a person chose.
    splits : Path, optional
    labels : Path, optional
        JSON file of label names, in place of the dataset's.
    modality : str, optional
        CT or MR, in place of the dataset's.
    plan : Path, optional
        JSON file of a plan, in place of the one made for the dataset.
    status : {"raw", "draft", "reviewed"}, default "reviewed"
        Least that a case was checked, in a dataset made in napari.
    folds : tuple of int or "all", optional
        Train these; see `medseg_pipelines.folds.train_on_folds`.
    devices : int or sequence of str
        For several folds.
    console : Console
        Told progress, scores and place.

    Raises
    ------
    InputError
        When dataset, options or run folder cannot be used.
    Cancelled
        When the person stopped it; the run can be resumed.
    """
    if not is_free(run):
        raise InputError(
            f"the run folder '{run}' is not empty; add --resume to continue it, or choose another"
            " --output"
        )
    check_folder(run.parent)
    data = open_dataset(dataset, splits=splits, labels=labels, modality=modality, status=status)
    given: dict[str, Any] = {"plan": read_plan(plan) if plan else None, "console": console}
    if folds:
        return train_on_folds(data, run=run, options=options, folds=folds, devices=devices, **given)
    return train_on(data, run=run, options=options, **given)


def resume_model(run: Path, *, given: Mapping[str, Any], console: Console) -> ModelPackage:
    """Go on with a run by its own options, on its own dataset.

    Parameters
    ----------
    run : Path
        Its folder.
    given : mapping of str to object
        What the person gave besides, by the names of :func:`train_model` and of the options: the
        device is taken, more steps or minutes make the run longer, and anything else has to be as
        it was.
    console : Console

    Raises
    ------
    InputError
        When there is no run, or something else is given than it began with.
    Cancelled
        When the person stopped it; the run can be resumed again.
    """
    from medseg.training.resuming import (
        check_same_plan,
        continued_options,
        finished_sentence,
        is_finished,
        reopen_dataset,
    )

    if is_free(run):
        raise InputError(f"there is no run in '{run}' to resume; leave --resume out to start one")
    given = {"device": "auto", **given}
    names = TrainingOptions.__struct_fields__
    options = continued_options(run, {k: value for k, value in given.items() if k in names})
    if given.get("plan"):
        check_same_plan(run, read_plan(given["plan"]), options)
    if is_finished(run, options):
        console.print(f"Nothing to train: {finished_sentence(run)}.")
        return find_package(run)
    choices = {k: given.get(k) for k in ("splits", "labels", "modality", "status")}
    data = reopen_dataset(run, given.get("dataset"), **choices)
    return train_on(data, run=run, options=options, resume=True, console=console)


def train_on(
    data: Dataset,
    *,
    run: Path,
    options: TrainingOptions,
    plan: Plan | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    console: Console,
) -> ModelPackage:
    """Train on an opened dataset; see :func:`train_model` and :func:`medseg.train`."""
    start = time.monotonic()
    names = ", ".join(data.labels.names)
    console.print(f"Dataset: {data.name}, {len(data.cases)} cases, labels {names}")
    from medseg.training import train  # seconds of importing, once the dataset can be used

    try:
        with console.progress("training") as progress:
            folder = train(
                data,
                run,
                options=options,
                plan=plan,
                resume=resume,
                callbacks=callbacks,
                progress=progress,
            )
    except Cancelled as stop:
        raise Cancelled(
            f"the checkpoint is in '{run}'; to continue: medseg train --output '{run}' --resume"
        ) from stop
    package = find_package(folder)
    _print_pretrained(run, options, console)
    for fact in ("recipe", "mean Dice on the way", "checkpoint"):
        if fact in package.manifest.provenance:
            console.print(f"{fact[0].upper()}{fact[1:]}: {package.manifest.provenance[fact]}")
    if package.manifest.scores:
        console.show(score_table(package, before=score_before(run)))
    console.print(f"Trained {package.manifest.name} in {duration(time.monotonic() - start)}.")
    console.print(f"The model is in {folder}")
    report_or_why_not(run, data, console)
    return package


def _print_pretrained(run: Path, options: TrainingOptions, console: Console) -> None:
    """Tell how many weights of the file found a place, and which did not."""
    if options.pretrained is None:
        return
    from medseg.training.pretrained import PretrainedReport
    from medseg.training.run import PRETRAINED

    stored = (run / PRETRAINED).read_bytes()
    report = decode(stored, PretrainedReport, where=str(run / PRETRAINED))
    console.print(
        f"Of {Path(options.pretrained).name}, {len(report.loaded)} weights were taken over."
    )
    for heading, keys in (
        ("Not in the file", report.missing),
        ("Not in the encoder", report.unexpected),
        ("Of another shape", report.wrong_shape),
        ("Without a place under instance norm", report.dropped_norm),
    ):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            console.print(f"{heading}: {', '.join(keys[:3])}{more} (all in {PRETRAINED})")


def score_table(package: ModelPackage, *, before: Mapping[str, float] | None = None) -> Table:
    """Table of the scores a model measured on its held-out cases."""
    table = Table(title="Held-out cases")
    table.add_column("label")
    table.add_column("mean Dice", justify="right")
    if before:
        table.add_column("before", justify="right")
        if not {*package.manifest.labels.names} <= {*before}:  # another mean cannot be compared
            before = {name: dice for name, dice in before.items() if name != MEAN}
    for name, dice in package.manifest.scores.items():
        earlier = [f"{before[name]:.3f}" if name in before else ""] if before else []
        table.add_row(name, f"{dice:.3f}", *earlier)
    return table
