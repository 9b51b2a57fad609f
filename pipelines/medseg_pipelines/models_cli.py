"""Commands of models, networks and losses: list, describe, export.

Only click is imported here; each command imports its workflow when it runs.
"""

from __future__ import annotations

from pathlib import Path

import click

from medseg_pipelines.cli_options import file_path, open_console


@click.group()
def models() -> None:
    """Show the models that are here, or export one."""


@models.command("list")
def list_models() -> None:
    """List the shipped models."""
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


@models.command("export")
@click.argument("name_or_folder")
@click.option(
    "--output", required=True, type=file_path, help="A .onnx or a .pt2 (torch.export) file."
)
@click.option("--opset", type=int, help="Version of ONNX's operators.")
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Read the file again and compare with torch.",
)
def export_model(name_or_folder: str, *, output: Path, opset: int | None, check: bool) -> None:
    """Write a model's network as one file for other programs."""
    from medseg_pipelines.export import export_file

    with open_console() as console:
        export_file(name_or_folder, output=output, opset=opset, check=check, console=console)


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
def losses() -> None:
    """Show the losses that a network can be trained with."""


@losses.command("list")
def list_losses() -> None:
    """List losses, and the package each comes from."""
    from medseg_pipelines.parts import show_losses

    with open_console() as console:
        show_losses(console=console)
