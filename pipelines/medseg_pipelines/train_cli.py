"""The command that trains.

Only click is imported here; the command imports its workflow when it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg_pipelines.cli_options import (
    class_weights_of,
    dataset_options,
    device_option,
    devices_of,
    file_path,
    folds_of,
    given_on,
    memory_of,
    open_console,
    oversample_of,
    settings_of,
)

if TYPE_CHECKING:
    from medseg.training.case_folder import Status


@click.command()
@click.argument("dataset", type=file_path, required=False)
@click.option("--output", "run", required=True, type=file_path, help="Folder of the run.")
@dataset_options
@click.option(
    "--folds",
    metavar="all|N,N,...",
    callback=folds_of,
    help="Train these folds into one model that predicts by all; a length is that of each fold.",
)
@click.option(
    "--devices",
    metavar="N|all|DEVICE,...",
    default="",
    callback=devices_of,
    help="GPUs (on a CPU, processes) that share each step; with --folds a fold on each at once.",
)
@click.option("--plan", type=file_path, help="A plan.json to train by, such as one you edited.")
@click.option(
    "--steps", type=click.IntRange(1), help="Length of the training; with --folds of each."
)
@click.option("--epochs", type=click.IntRange(1), help="Or its epochs: each case once on average.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Or its time limit, validation included.",
)
@click.option("--batch", type=click.IntRange(1), help="Patches in a step, in place of the plan's.")
@click.option(
    "--network",
    show_default="unet",
    help="Name of the network, such as unet or monai:VNet; `medseg networks list` shows them.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=settings_of,
    help="A setting of the network, such as encoder.name=resnet50; may be given several times.",
)
@click.option(
    "--plane",
    type=click.Choice(["axial", "coronal", "sagittal"]),
    help="Train a 2-D network on the slices of this plane (pictures need none).",
)
@click.option(
    "--pretrained", metavar="FILE", help="Weights for the network's encoder (ImageNet, MedicalNet)."
)
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    help="Go on from this model: its weights, plan and labels (fine-tuning).",
)
@click.option("--inflate", is_flag=True, help="Let 2-D weights of that file become 3-D ones.")
@click.option(
    "--loss",
    show_default="dice_ce",
    help="Name of the loss; `medseg losses list` shows them.",
)
@click.option(
    "--preset",
    type=click.Choice(["quick", "standard", "best"]),
    default="standard",
    show_default=True,
    help="Optimiser, schedule and drawing of patches, by the run's length; other options go first.",
)
@click.option(
    "--augmentation",
    type=click.Choice(["none", "light", "standard", "strong"]),
    help="Random changes of training patches, in place of the plan's (the preset's in a new one).",
)
@click.option(
    "--postprocess", is_flag=True, help="Choose steps after the network on the held-out cases."
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    metavar="RATE",
    help="At its peak, in place of the preset's, which is lower with --from.",
)
@click.option(
    "--validations",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How often held-out cases are looked at on the way.",
)
@click.option(
    "--early-stop",
    type=click.IntRange(1),
    metavar="N",
    help="End after N validations in a row without a better mean Dice.",
)
@click.option(
    "--checkpoint",
    type=click.Choice(["auto", "best", "last"]),
    default="auto",
    show_default=True,
    help="Which becomes the model; auto is the best with --early-stop, else the last.",
)
@click.option(
    "--oversample",
    default="auto",
    show_default=True,
    metavar="auto|off|SHARE",
    callback=oversample_of,
    help="Share of the patches that are centred on a label, rare ones as often as others.",
)
@click.option(
    "--class-weights",
    metavar="auto|LABEL=W,...",
    callback=class_weights_of,
    help="Weights of labels (and of background) in the cross-entropy.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--name", help="Name of the model.")
@click.option("--resume", is_flag=True, help="Continue the run in --output; it needs nothing else.")
@device_option
@click.option(
    "--gpu-memory",
    metavar="SIZE",
    callback=memory_of,
    help="Most that is taken of a GPU, such as 8G or 800M.",
)
@click.pass_context
def train(
    ctx: click.Context,
    /,
    *,
    dataset: Path | None,
    run: Path,
    splits: Path | None,
    labels: Path | None,
    modality: str | None,
    plan: Path | None,
    status: Status,
    resume: bool,
    folds: tuple[int, ...] | str | None,
    devices: int | tuple[str, ...],
    **options: Any,
) -> None:
    """Train on DATASET: a folder in one of many layouts, or a CSV or JSON list of cases."""
    from medseg.training.ranks import ranks
    from medseg.training.run_status import FOLDS

    given = given_on(ctx)
    here, several = ranks(), bool(folds) or ((run / FOLDS).is_file() and "fold" not in given)
    if folds and "fold" in given:
        raise click.UsageError("--fold is of one fold and --folds of several; leave one out.")
    if isinstance(devices, tuple) and devices and not several:
        raise click.UsageError("--devices takes a number; names are for --folds, or give --device.")
    if here.size == 1 and not several and isinstance(devices, int) and devices > 1:
        from medseg.training.distributed import start_processes

        sys.exit(start_processes(devices, sys.argv[1:]))
    if not here.leads:
        from medseg.training.following import follow

        follow(run, dataset, device=options["device"])
        return
    from medseg.training import TrainingOptions
    from medseg_pipelines.folds import resume_folds
    from medseg_pipelines.train import resume_model, train_model

    with open_console() as console:
        if resume:
            go_on = resume_folds if several else resume_model
            go_on(run, given=given, console=console)
            return
        if dataset is None:
            raise click.UsageError("Missing argument 'DATASET'; only --resume needs none.")
        train_model(
            dataset,
            run=run,
            options=TrainingOptions(**options),
            splits=splits,
            labels=labels,
            modality=modality,
            plan=plan,
            status=status,
            folds=folds,
            devices=devices,
            console=console,
        )


@click.command()
@click.argument("runs", metavar="RUN...", type=file_path, nargs=-1, required=True)
@click.option("--output", required=True, type=file_path, help="Folder of the model, to be made.")
@click.option(
    "--average",
    is_flag=True,
    help="Take one network with the mean of all weights, if it does as well on known cases.",
)
@device_option
def ensemble(*, runs: tuple[Path, ...], output: Path, average: bool, device: str) -> None:
    """Compare RUNs of --folds by their scores out of fold; write the model of the best."""
    from medseg_pipelines.folds import choose_ensemble

    with open_console() as console:
        choose_ensemble(runs, output=output, average=average, device=device, console=console)
