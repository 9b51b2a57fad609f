"""Commands of hospitals' archives (PACS); only click is imported until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medseg_pipelines.cli_options import file_path, open_console

if TYPE_CHECKING:
    from medseg_pipelines.pacs.client import Via

_settings = click.option(
    "--settings",
    required=True,
    type=file_path,
    metavar="FILE",
    help="TOML file of this machine, its peers, limits and work.",
)
_peer = click.option("--peer", default="", metavar="NAME", help="Which peer of the settings.")


@click.group()
def pacs() -> None:
    """Scans from a hospital's archive, and results back to it."""


def _query(ctx: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Values to match by DICOM keyword, from KEYWORD=VALUE."""
    query: dict[str, str] = {}
    for pair in pairs:
        keyword, equals, value = pair.partition("=")
        if not (keyword.isalpha() and equals and value):
            raise click.BadParameter(f"'{pair}' is not KEYWORD=VALUE", ctx, option)
        query[keyword] = value
    return query


@pacs.command()
@_settings
@_peer
@click.pass_context
def echo(ctx: click.Context, settings: Path, peer: str) -> None:
    """Ask whether peers answer."""
    from medseg_pipelines.pacs import commands

    with open_console() as console:
        ctx.exit(0 if commands.echo(settings, peer=peer, console=console) else 1)


@pacs.command()
@_settings
@_peer
@click.option(
    "--query",
    multiple=True,
    metavar="KEYWORD=VALUE",
    callback=_query,
    help="What a study or series must have, such as StudyDate=20260101-20260131.",
)
@click.option("--study", metavar="UID", help="StudyInstanceUID.")
@click.option("--series", metavar="UID", help="SeriesInstanceUID.")
@click.option(
    "--via",
    type=click.Choice(["auto", "dicomweb", "c-get", "c-move"]),
    default="auto",
    show_default=True,
    help="How to fetch; auto is DICOMweb where the peer has it.",
)
@click.option("--most", type=click.IntRange(1), help="At most so many series.")
@click.option("--dry-run", "dry", is_flag=True, help="Only count what would be fetched.")
@click.pass_context
def pull(
    ctx: click.Context,
    *,
    settings: Path,
    peer: str,
    query: dict[str, str],
    study: str | None,
    series: str | None,
    via: Via,
    most: int | None,
    dry: bool,
) -> None:
    """Fetch series into the spool; run again to go on."""
    from medseg_pipelines.pacs import commands

    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    keys = query | {keyword: uid for keyword, uid in uids.items() if uid}
    with open_console() as console:
        complete = commands.pull(
            settings, peer=peer, query=keys, via=via, most=most, dry=dry, console=console
        )
    ctx.exit(0 if complete else 1)


@pacs.command()
@click.argument("files", nargs=-1, required=True, type=file_path)
@_settings
@_peer
@click.option(
    "--via",
    type=click.Choice(["auto", "dicomweb", "dimse"]),
    default="auto",
    show_default=True,
    help="How to send; auto is DICOMweb where the peer has it.",
)
@click.pass_context
def push(
    ctx: click.Context, *, files: tuple[Path, ...], settings: Path, peer: str, via: Via
) -> None:
    """Send FILES (DICOM SEG, SR, RT Structure Set, or folders of them) to a peer."""
    from medseg_pipelines.pacs import commands

    with open_console() as console:
        ctx.exit(0 if commands.push(settings, files, peer=peer, via=via, console=console) else 1)


@pacs.command()
@_settings
def listen(settings: Path) -> None:
    """Receive series into the spool until stopped."""
    from medseg_pipelines.pacs import commands

    with open_console() as console:
        commands.listen(settings, console=console)


@pacs.command()
@_settings
def run(settings: Path) -> None:
    """Receive series, segment them and send the results back, until stopped."""
    from medseg_pipelines.pacs import commands

    with open_console() as console:
        commands.serve(settings, console=console)


@pacs.command()
@_settings
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(settings: Path, *, as_json: bool) -> None:
    """Show what was received, what became of it, and what was given up."""
    from medseg_pipelines.pacs import commands

    with open_console() as console:
        commands.status(settings, as_json=as_json, console=console)


@pacs.command()
@click.argument("names", nargs=-1)
@_settings
@click.option("--refused", is_flag=True, help="Series that were refused, too.")
def retry(names: tuple[str, ...], settings: Path, *, refused: bool) -> None:
    """Try dead letters again: all, or those whose NAMES (beginnings of them) are given."""
    from medseg_pipelines.pacs import commands

    with open_console() as console:
        commands.retry(settings, names, refused=refused, console=console)
