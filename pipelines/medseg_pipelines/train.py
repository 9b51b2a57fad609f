"""A dataset in, a model package out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from medseg.errors import Cancelled, InputError
from medseg.model_package import ModelPackage, find_package
from medseg.planning import Plan, read_plan
from medseg.planning.plan import decode
from medseg.training import Dataset, TrainingOptions, open_dataset
from medseg.training.case_folder import Status
from medseg.training.fine_tuning import score_before
from medseg.workflows.outputs import check_folder
from medseg_pipelines.console import Console, duration


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
    resume: bool = False,
    console: Console,
) -> ModelPackage:
    """Train a network and show what became of it.

    Parameters
    ----------
    dataset : Path
        nnU-Net raw, Medical Segmentation Decathlon, or images/ + labels/.
    run : Path
        Folder for plan, checkpoints, history and the finished model.
    options : TrainingOptions
        Length, fold, network, seed, device, name.
    splits : Path, optional
    labels : Path, optional
        JSON file of label names, in place of the dataset's.
    modality : str, optional
        CT or MR, in place of the dataset's.
    plan : Path, optional
        JSON file of a plan, in place of the one made for the dataset.
    status : {"raw", "draft", "reviewed"}, default "reviewed"
        Least that a case was checked, in a dataset made in napari.
    resume : bool, default False
        Whether to continue an interrupted run.
    console : Console
        Told progress, scores and place.

    Raises
    ------
    InputError
        When dataset, options or run folder cannot be used.
    Cancelled
        When the person stopped it; the run can be resumed.
    """
    _check_run(run, resume=resume)
    data = open_dataset(dataset, splits=splits, labels=labels, modality=modality, status=status)
    given_plan = read_plan(plan) if plan else None
    return train_on(data, run=run, options=options, plan=given_plan, resume=resume, console=console)


def train_on(
    data: Dataset,
    *,
    run: Path,
    options: TrainingOptions,
    plan: Plan | None = None,
    resume: bool = False,
    console: Console,
) -> ModelPackage:
    """Train on an opened dataset; see :func:`train_model`."""
    start = time.monotonic()
    names = ", ".join(data.labels.names)
    console.print(f"Dataset: {data.name}, {len(data.cases)} cases, labels {names}")
    from medseg.training import train  # seconds of importing, once the dataset can be used

    try:
        with console.progress("training") as progress:
            folder = train(data, run, options=options, plan=plan, resume=resume, progress=progress)
    except Cancelled as stop:
        raise Cancelled(
            f"the checkpoint is in '{run}'; run the same command with --resume to continue"
        ) from stop
    package = find_package(folder)
    _print_pretrained(run, options, console)
    if package.manifest.scores:
        console.show(score_table(package, before=score_before(run)))
    console.print(f"Trained {package.manifest.name} in {duration(time.monotonic() - start)}.")
    console.print(f"The model is in {folder}")
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
    for name, dice in package.manifest.scores.items():
        earlier = [f"{before[name]:.3f}" if name in before else ""] if before else []
        table.add_row(name, f"{dice:.3f}", *earlier)
    return table


def _check_run(run: Path, *, resume: bool) -> None:
    """Raise `InputError` when a run would be overwritten, or there is none to resume."""
    used = run.exists() and (run.is_file() or any(run.iterdir()))
    if used and not resume:
        raise InputError(
            f"the run folder '{run}' is not empty; add --resume to continue it or choose another"
            " --output"
        )
    if resume and not used:
        raise InputError(f"there is no run in '{run}' to resume; leave --resume out to start one")
    check_folder(run.parent)
