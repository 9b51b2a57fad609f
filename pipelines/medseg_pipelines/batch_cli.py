"""Commands of batches: run one, show its status, retry cases, explain a case.

Only click is imported here, so that help is instant.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg_pipelines.cli_options import (
    backend_option,
    device_option,
    encoding_option,
    file_path,
    model_option,
    open_console,
    policy_options,
    postprocess_option,
    probabilities_option,
    roi_options,
    tta_option,
)

if TYPE_CHECKING:
    from medseg_pipelines.batch.reports.console import View

_FORMATS = ("nifti", "nrrd", "dicom-seg", "rtstruct", "sr", "preview")
_RUN = "run"
_SHARD = re.compile(r"(\d+)/(\d+)")


class _Batch(click.Group):
    """``medseg batch ROOT ...`` runs; ``status``, ``retry`` and ``explain`` are commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is neither a command nor a call for help is a run."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_RUN, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """As of a run."""
        return ["ROOT --model NAME_OR_FOLDER --output DIR [OPTIONS]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of a run, and the commands."""
        self.commands[_RUN].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _shard(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int]:
    """Which share, of how many."""
    if text is None:
        return 1, 1
    match = _SHARD.fullmatch(text)
    share, shares = map(int, match.groups()) if match else (0, 0)
    if not 1 <= share <= shares:
        raise click.BadParameter(
            f"'{text}' is no K/N with K from 1 to N, such as 3/16", ctx, option
        )
    return share, shares


@click.group(cls=_Batch)
def batch() -> None:
    """Segment every scan below ROOT; run again to continue where it stopped.

    With several models each has a folder in the output, called after it.

    A folder that is called status, retry or explain is written ./status.
    """


@batch.command(_RUN, hidden=True)
@click.argument("root", type=file_path)
@model_option(several=True)
@click.option("--output", required=True, type=file_path, help="Folder for the results.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    default=["nifti"],
    show_default=True,
    help="Of the results; may be given several times.",
)
@encoding_option
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Take only scans with this: FACT=VALUE, FACT>=N, FACT<=N or FACT~PATTERN.",
)
@click.option("--rules", "rules_file", type=file_path, help="A TOML file of rules.")
@click.option(
    "--series-description",
    "description",
    multiple=True,
    metavar="PATTERN",
    help="Take only series that are described so, such as '*portal*'.",
)
@click.option(
    "--exclude-description",
    "exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out series that are described so.",
)
@click.option(
    "--orientation",
    type=click.Choice(["axial", "coronal", "sagittal", "oblique"]),
    multiple=True,
    help="Take only slices of this orientation.",
)
@click.option(
    "--min-slices",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Refuse stacks with fewer slices, such as scouts; 1 takes pictures too.",
)
@click.option("--dry-run", is_flag=True, help="Show what would run, and why the rest not.")
@click.option("--paths", is_flag=True, help="Tell in a dry run where scans lie.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that work."
)
@click.option(
    "--cluster", metavar="ADDRESS", help="Workers elsewhere: HOST:PORT, local:N or slurm:FILE."
)
@click.option(
    "--shard", metavar="K/N", callback=_shard, help="Only the K-th of N equal shares of the scans."
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often a case may fail before it is left.",
)
@click.option(
    "--resume/--overwrite",
    default=True,
    show_default=True,
    help="Leave alone what is done, or compute it again.",
)
@click.option(
    "--anonymous-names",
    is_flag=True,
    help="Call results by digests, and not as their scans are called.",
)
@click.option(
    "--deidentify", is_flag=True, help="Take the patient out of DICOM results and of names."
)
@click.option("--quiet", "view", flag_value="quiet", help="One line at the end.")
@click.option("--json-lines", "view", flag_value="json-lines", help="One JSON object per event.")
@probabilities_option
@postprocess_option
@tta_option
@backend_option
@roi_options
@policy_options
@device_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    root: Path,
    models: tuple[str, ...],
    output: Path,
    view: View | None,
    **arguments: Any,
) -> None:
    """Segment every scan below ROOT."""
    from medseg_pipelines.batch.archive_run import (
        Display,
        options_of,
        output_of_each,
        segment_archive,
    )
    from medseg_pipelines.batch.workers.deidentify import PIXEL_WARNING

    if arguments["deidentify"]:
        click.echo(PIXEL_WARNING, err=True)
    display = Display(view=view or "auto", paths=arguments["paths"], command=tuple(sys.argv[1:]))
    with open_console() as console:
        succeeded = [
            segment_archive(
                root,
                model=model,
                output=folder,
                options=options_of(arguments),
                display=display,
                console=console,
            )
            for model, folder in output_of_each(models, output).items()
        ]
    ctx.exit(0 if all(succeeded) else 1)


_output = click.argument("output", metavar="DIR", type=file_path)
_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
_paths = click.option(
    "--paths", is_flag=True, help="Tell where scans lie and of what series; may name patients."
)


@batch.command("status")
@_output
@click.option("--cases", is_flag=True, help="List every case.")
@_paths
@_as_json
def status(output: Path, *, cases: bool, paths: bool, as_json: bool) -> None:
    """Show how the batch in DIR stands."""
    from medseg_pipelines.batch.reports.status import show_status

    with open_console() as console:
        show_status(output, cases=cases, paths=paths, as_json=as_json, console=console)


@batch.command("retry")
@_output
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--refused", is_flag=True, help="Those that were refused, too.")
@click.option(
    "--code", "codes", multiple=True, help="Only with this code; may be given several times."
)
def retry(output: Path, *, failed: bool, refused: bool, codes: tuple[str, ...]) -> None:
    """Let cases of the batch in DIR wait to be tried again."""
    from medseg_pipelines.batch.reports.status import retry_cases

    if not (failed or refused):
        raise click.UsageError("say which cases: --failed, or --failed --refused")
    with open_console() as console:
        retry_cases(output, codes=codes, refused=refused, console=console)


@batch.command("explain")
@_output
@click.argument("case")
@_paths
@_as_json
def explain(output: Path, case: str, *, paths: bool, as_json: bool) -> None:
    """Tell everything about CASE: the beginning of its name, its folder, or where the scan lies."""
    from medseg_pipelines.batch.reports.status import explain_case

    with open_console() as console:
        explain_case(output, case, paths=paths, as_json=as_json, console=console)
