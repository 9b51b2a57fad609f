"""The command line: options of each command, and how it ends.

Only click is imported here, so that help is instant; a command imports its workflow when it runs.
"""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from medseg import __version__
from medseg.errors import Cancelled, MedsegError
from medseg_pipelines.batch_cli import batch
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
    uncertainty_option,
)
from medseg_pipelines.dataset_cli import dataset
from medseg_pipelines.evaluate_cli import compare, evaluate, report
from medseg_pipelines.models_cli import losses, models, networks, plan
from medseg_pipelines.pacs_cli import pacs
from medseg_pipelines.train_cli import ensemble, train

if TYPE_CHECKING:
    from medseg.reading.policies import Irregular, Missing
    from medseg.reading.segment_selection import Overlaps


class _Failure(click.ClickException):
    """One sentence on stderr and exit code 2."""

    exit_code = 2
    word = "error"

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        click.echo(f"medseg: {self.word}: {self.message}", file=file, err=True)


class _Stop(_Failure):
    """The same for a command that the person stopped: exit code 130."""

    exit_code = 130
    word = "stopped"


class _Group(click.Group):
    """A group whose errors are sentences: exit code 2 for medseg's own, 130 when stopped."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Cancelled as stop:
            raise _Stop(str(stop)) from stop
        except KeyboardInterrupt as stop:
            raise _Stop("nothing half-written was left behind") from stop
        except MedsegError as error:
            raise _Failure(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="medseg")
def medseg() -> None:
    """Medical-image segmentation: scans in, trustworthy label maps out."""


@medseg.command()
@click.argument("scans", metavar="SCAN...", type=file_path, nargs=-1, required=True)
@model_option()
@click.option(
    "--output", required=True, type=file_path, help="A .nii.gz, .nii, .nrrd, .mha or .dcm file."
)
@click.option(
    "--series",
    multiple=True,
    metavar="UID",
    help="Which series of a DICOM folder; once for each channel of the model.",
)
@probabilities_option
@uncertainty_option
@encoding_option
@postprocess_option
@tta_option
@backend_option
@roi_options
@policy_options
@device_option
def segment(
    *, scans: tuple[Path, ...], irregular: Irregular, missing: Missing, **options: Any
) -> None:
    """Segment SCAN: a NIfTI, NRRD or MHA file, or the folder of a DICOM series.

    A model of several channels takes a file of each, in the order of its channels, or the folder
    of one case's files.
    """
    from medseg.reading import Policies
    from medseg_pipelines.segment import segment_scan

    policies = Policies(irregular=irregular, missing=missing)
    with open_console() as console:
        segment_scan(scans, policies=policies, console=console, **options)


@medseg.command()
@click.argument("path", type=file_path)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--pixels", is_flag=True, help="Decode all DICOM pixels, not only headers.")
@policy_options
def inspect(
    *, path: Path, as_json: bool, pixels: bool, irregular: Irregular, missing: Missing
) -> None:
    """Report on the scans in PATH: where they lie, what is wrong with them, what to do."""
    from medseg.reading import Policies
    from medseg_pipelines.inspect import inspect_scans

    policies = Policies(irregular=irregular, missing=missing)
    with open_console() as console:
        inspect_scans(path, policies=policies, pixels=pixels, as_json=as_json, console=console)


@medseg.command()
@click.argument("path", metavar="IN", type=file_path)
@click.argument("output", metavar="OUT", type=file_path)
@click.option(
    "--like", type=file_path, help="The scan that was labelled: use its grid, refer to it."
)
@click.option("--series", metavar="UID", help="Which series of a DICOM folder.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "labels", "scan"]),
    default="auto",
    show_default=True,
    help="What IN is, where its format does not tell.",
)
@encoding_option
@click.option(
    "--segments",
    "--label",
    "segments",
    multiple=True,
    metavar="NUMBER_OR_NAME",
    help="Take this segment or label only; may be given several times.",
)
@click.option(
    "--overlaps",
    type=click.Choice(["refuse", "first", "last"]),
    default="refuse",
    show_default=True,
    help="Which segment wins where several overlap.",
)
def convert(
    *, path: Path, output: Path, segments: tuple[str, ...], overlaps: Overlaps, **options: Any
) -> None:
    """Convert IN, a label map or a scan, to the format that the ending of OUT names."""
    from medseg.reading import SegmentSelection
    from medseg_pipelines.convert import convert_file

    choice = SegmentSelection(segments=segments, overlaps=overlaps)
    with open_console() as console:
        convert_file(path, output, choice=choice, console=console, **options)


@medseg.command()
@click.option("--output", type=file_path, default=Path("demo"), show_default=True)
@click.option(
    "--steps",
    type=click.IntRange(1),
    show_default="300",
    help="Most steps of training; it ends sooner, once the validation patient is found well.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of training.")
@click.option("--view/--no-view", default=True, help="Open napari at the end.")
@device_option
@click.pass_context
def demo(ctx: click.Context, /, *, output: Path, view: bool, **training: Any) -> None:
    """Show the main job end to end on made-up patients: train, segment, evaluate, report."""
    from medseg_pipelines.demo import run_demo

    with open_console() as console:
        succeeded = run_demo(output, view=view, console=console, **training)
    ctx.exit(0 if succeeded else 1)


medseg.add_command(batch)
medseg.add_command(compare)
medseg.add_command(dataset)
medseg.add_command(evaluate)
medseg.add_command(ensemble)
medseg.add_command(losses)
medseg.add_command(models)
medseg.add_command(networks)
medseg.add_command(pacs)
medseg.add_command(plan)
medseg.add_command(report)
medseg.add_command(train)


def _sentence(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as this program writes it: without the line of code that gave it."""
    return f"medseg: warning: {message}\n"


def main() -> None:
    """Run the command line and exit with its code."""
    warnings.formatwarning = _sentence
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: no name stops a command
    medseg(prog_name="medseg")
