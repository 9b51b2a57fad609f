"""Commands of datasets.

Only click is imported here; each command imports its workflow when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medseg_pipelines.cli_options import dataset_options, device_option, file_path, open_console


@click.group()
def dataset() -> None:
    """Look at a dataset before anything is trained on it."""


@dataset.command("check")
@click.argument("folder", metavar="DATASET", type=file_path)
@dataset_options
@click.option("--plan", type=file_path, help="A plan.json to train by, such as one you edited.")
@click.option("--steps", type=click.IntRange(1), help="Length of the training, for the estimate.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def check(ctx: click.Context, /, folder: Path, **options: Any) -> None:
    """Read every case of DATASET; tell what is wrong, and what a training will take."""
    from medseg_pipelines.dataset import check_cases

    with open_console() as console:
        trainable = check_cases(folder, console=console, **options)
    ctx.exit(0 if trainable else 1)
