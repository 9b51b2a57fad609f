"""Commands of models, networks, losses and plans: list, describe, explain, export.

Only click is imported here; each command imports its workflow when it runs.
"""

from __future__ import annotations

from pathlib import Path

import click

from medseg_pipelines.cli_options import file_path, open_console


@click.group()
def models() -> None:
    """Show the models that are here, import one, or export one."""


@models.command("list")
def list_models() -> None:
    """List the shipped and imported models."""
    from medseg_pipelines.models import show_models

    with open_console() as console:
        show_models(console=console)


@models.command("info")
@click.argument("name_or_folder")
def model_info(name_or_folder: str) -> None:
    """Show what a model is, what it was trained on and how well it did."""
    from medseg_pipelines.models import show_model

    with open_console() as console:
        show_model(name_or_folder, console=console)


@models.command("import")
@click.argument("path", type=file_path)
@click.option("--name", default="", help="What to call it; as it calls itself when not given.")
@click.option("--configuration", default="", help="Of nnU-Net, or task.")
@click.option("--fold", "folds", multiple=True, help="Of nnU-Net; all when not given. Repeatable.")
def import_model(path: Path, *, name: str, configuration: str, folds: tuple[str, ...]) -> None:
    """Make a trained model of another program one of yours.

    PATH is a folder or zip of nnU-Net v2, TotalSegmentator's own folder (~/.totalsegmentator), a
    MONAI bundle, a package of bioimage.io, or a network as ONNX or TorchScript beside its
    medseg.json.
    """
    from medseg.model_package.interop.nnunet.options import ImportOptions
    from medseg_pipelines.models import import_from

    options = ImportOptions(name=name, configuration=configuration, folds=folds)
    with open_console() as console:
        import_from(path, options, console=console)


@models.command("export")
@click.argument("name_or_folder")
@click.option(
    "--output",
    required=True,
    type=file_path,
    help="A .onnx, .pt2 (torch.export) or .ts (TorchScript) file, or the folder of a bundle.",
)
@click.option(
    "--to",
    type=click.Choice(["monai-bundle"]),
    help="A folder for `python -m monai.bundle run`, in place of what the output's ending says.",
)
@click.option("--fold", type=int, help="Only this fold's network, of a model of several folds.")
@click.option("--opset", type=int, help="Version of ONNX's operators.")
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Read the file again and compare with torch.",
)
@click.option(
    "--compare",
    type=file_path,
    metavar="SCAN",
    help="A scan to label by the model and by its bundle; prints how far they agree.",
)
def export_model(
    name_or_folder: str,
    *,
    output: Path,
    to: str | None,
    fold: int | None,
    opset: int | None,
    check: bool,
    compare: Path | None,
) -> None:
    """Write a model for other programs: its network as one file, or all of it as a MONAI bundle."""
    from medseg_pipelines.export import export_bundle_folder, export_file

    if to is None and compare is not None:
        raise click.UsageError("--compare is for bundles; add --to monai-bundle or leave it out")
    if to is not None and opset is not None:
        raise click.UsageError("--opset is of ONNX and a bundle holds none; leave it out")
    with open_console() as console:
        if to is None:
            export_file(
                name_or_folder, output=output, fold=fold, opset=opset, check=check, console=console
            )
        else:
            export_bundle_folder(
                name_or_folder,
                output=output,
                fold=fold,
                check=check,
                compare=compare,
                console=console,
            )


@click.group()
def networks() -> None:
    """Show the architectures that can be trained."""


@networks.command("list")
def list_networks() -> None:
    """List networks and encoders with their sizes, and the package each comes from."""
    from medseg_pipelines.parts import show_networks

    with open_console() as console:
        show_networks(console=console)


@click.group()
def plan() -> None:
    """Show what a plan says."""


@plan.command("explain")
@click.argument("source", metavar="PLAN_OR_RUN_OR_MODEL")
def explain(source: str) -> None:
    """Say in sentences what a plan.json, a run or a model does to scans and patches."""
    from medseg_pipelines.plan import explain_plan

    with open_console() as console:
        explain_plan(source, console=console)


@click.group()
def losses() -> None:
    """Show the losses that a network can be trained with."""


@losses.command("list")
def list_losses() -> None:
    """List losses, and the package each comes from."""
    from medseg_pipelines.parts import show_losses

    with open_console() as console:
        show_losses(console=console)
