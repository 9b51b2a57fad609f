"""The commands that measure: one model against the truth, and two models against one another.

Only click is imported here; a command imports its workflow when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medseg_pipelines.cli_options import file_path, open_console

_surface_option = click.option(
    "--surface/--no-surface",
    default=True,
    show_default=True,
    help="Score surfaces of label maps too: HD95, ASSD and normalised surface Dice.",
)
_tolerance_option = click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="MM",
    help="Distance within which surfaces count as equal.",
)
_missing_option = click.option(
    "--missing",
    type=click.Choice(["undefined", "worst"]),
    default="undefined",
    show_default=True,
    help="HD95 and ASSD where only one map has a label: left out and counted, or the diagonal.",
)


@click.command()
@click.argument("predictions", type=file_path)
@click.argument("truth", type=file_path)
@click.option("--output", required=True, type=file_path, help="File of the scores: .json or .csv.")
@click.option("--csv", "as_csv", type=file_path, help="A CSV file too: a line per case and label.")
@click.option("--labels", type=file_path, help='JSON of label names: {"1": "liver"}.')
@click.option("--model", metavar="NAME_OR_FOLDER", help="Take the label names of this model.")
@click.option("--subset", is_flag=True, help="Score only the cases that were predicted.")
@click.option(
    "--regions",
    "by_region",
    is_flag=True,
    help="Score the regions that --labels or --model has, each with all that lies inside it.",
)
@_surface_option
@_tolerance_option
@_missing_option
def evaluate(
    *,
    predictions: Path,
    truth: Path,
    labels: Path | None,
    model: str | None,
    by_region: bool,
    surface: bool,
    tolerance: float,
    **options: Any,
) -> None:
    """Compare PREDICTIONS with TRUTH: two label maps, or two folders of them."""
    from medseg_pipelines.evaluate import evaluate_maps, named_labels, named_regions

    with open_console() as console:
        evaluate_maps(
            predictions,
            truth,
            table=named_labels(labels, model=model),
            regions=named_regions(labels, model=model) if by_region else (),
            tolerance_mm=tolerance if surface else None,
            console=console,
            **options,
        )


@click.command()
@click.argument("first", metavar="A", type=file_path)
@click.argument("second", metavar="B", type=file_path)
@click.option("--truth", type=file_path, help="Of A and B where these are label maps.")
@click.option("--output", type=file_path, help="JSON file of all measures.")
@click.option("--labels", type=file_path, help='JSON of label names: {"1": "liver"}.')
@click.option(
    "--measure",
    "measures",
    multiple=True,
    metavar="KEY",
    help="Which to show, such as dice, nsd or assd_mm; may be given several times.",
)
@_surface_option
@_tolerance_option
@_missing_option
def compare(*, labels: Path | None, surface: bool, tolerance: float, **options: Any) -> None:
    """Compare the models A and B on the same cases: by how much one is better, and if that is sure.

    A and B are training runs, files that `medseg evaluate` wrote, or with --truth label maps.
    """
    from medseg_pipelines.compare import compare_runs
    from medseg_pipelines.evaluate import named_labels

    with open_console() as console:
        compare_runs(
            table=named_labels(labels),
            tolerance_mm=tolerance if surface else None,
            console=console,
            **options,
        )


@click.command()
@click.argument("run", type=file_path)
@click.option("--output", type=file_path, help="The page, in place of report.html in RUN.")
def report(*, run: Path, output: Path | None) -> None:
    """Write the page about a training RUN again: scores, intervals, pictures, plan, provenance."""
    from medseg_pipelines.run_report import write_run_report

    with open_console() as console:
        console.print(f"Wrote {write_run_report(run, output=output)}")
