"""Commands of hospitals' archives (PACS); only click is imported until a command runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.errors import InputError
from medseg_pipelines.cli_options import file_path, open_console

if TYPE_CHECKING:
    from medseg_pipelines.console import Console
    from medseg_pipelines.pacs.client import Via
    from medseg_pipelines.pacs.settings import PacsSettings
    from medseg_pipelines.pacs.spool import Spool

_SHORT, _MOST_SHOWN, _NAP_S = 8, 100, 0.1
_DIGESTS = ("series", "delivery")
_settings = click.option(
    "--settings",
    required=True,
    type=file_path,
    metavar="FILE",
    help="TOML file of this machine, its peers, limits and work.",
)
_peer = click.option("--peer", default="", metavar="NAME", help="Which peer of the settings.")


def _via(*kinds: str, what: str) -> Callable[..., Any]:
    return click.option(
        "--via",
        type=click.Choice(["auto", "dicomweb", *kinds]),
        default="auto",
        show_default=True,
        help=f"How to {what}; auto is DICOMweb where the peer has it.",
    )


@click.group()
def pacs() -> None:
    """Scans from a hospital's archive, and results back to it."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Console, PacsSettings, Spool]]:
    """The console of a command, the settings of a file, and their spool."""
    from medseg_pipelines.pacs.errors import check_extra

    check_extra()  # before what it may lack is imported
    from medseg_pipelines.pacs.settings import read_settings
    from medseg_pipelines.pacs.spool import Spool

    with open_console() as console:
        settings = read_settings(path)
        spool = Spool(Path(settings.spool), settings.limits)
        try:
            yield console, settings, spool
        finally:
            spool.close()


def _log(console: Console) -> Callable[[str], None]:
    """What a service says: one line for each event, with its time."""
    return lambda text: console.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z  {text}")


def _pause(console: Console, seconds: float) -> None:
    """Wait, until Ctrl-C."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        console.check()
        time.sleep(min(_NAP_S, left))


@pacs.command()
@_settings
@_peer
@click.pass_context
def echo(ctx: click.Context, settings: Path, peer: str) -> None:
    """Ask whether peers answer."""
    with _opened(settings) as (console, ours, spool):
        from medseg_pipelines.pacs.client import connect
        from medseg_pipelines.pacs.errors import PeerError

        peers = [ours.peer(peer)] if peer else ours.peers
        ways: list[tuple[Via, str]] = [("dicomweb", "dicomweb"), ("dimse", "host")]
        failed = 0
        for there, via in [(p, via) for p in peers for via, key in ways if getattr(p, key)]:
            start = time.monotonic()
            try:
                with connect(there, ours, spool, via=via) as client:
                    protocol = client.echo()
            except PeerError as error:
                failed += 1
                console.print(f"{there.name}: {error} ({error.code})")
            else:
                ms = 1000 * (time.monotonic() - start)
                console.print(f"{there.name}: answers by {protocol} in {ms:.0f} ms")
    ctx.exit(1 if failed else 0)


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
@click.option(
    "--query",
    multiple=True,
    metavar="KEYWORD=VALUE",
    callback=_query,
    help="What a study or series must have, such as StudyDate=20260101-20260131.",
)
@click.option("--study", metavar="UID", help="StudyInstanceUID.")
@click.option("--series", metavar="UID", help="SeriesInstanceUID.")
@_via("c-get", "c-move", what="fetch")
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
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    wanted = query | {keyword: uid for keyword, uid in named.items() if uid}
    with _opened(settings) as (console, ours, spool):
        from medseg_pipelines.pacs.client import connect
        from medseg_pipelines.pacs.transfer import Puller

        _check_query(wanted)
        with (
            _receiving(ours, spool, via, console),
            connect(ours.peer(peer), ours, spool, via=via) as client,
        ):
            puller = Puller(client, spool, retry=ours.retry, pause=partial(_pause, console))
            remotes = puller.find(wanted, most=most)
            objects = sum(remote.objects or 0 for remote in remotes)
            console.print(f"Found:  {len(remotes)} series, {objects} objects")
            pulled = []
            with console.progress("fetching") as progress:
                for number, remote in enumerate([] if dry else remotes):
                    progress(number, len(remotes), "fetching series")
                    pulled.append(puller.pull(remote))
        if pulled:
            _show(console, "Series", "series objects fetched here_before refused", pulled)
    ctx.exit(1 if any(result.code for result in pulled) else 0)


def _check_query(query: dict[str, str]) -> None:
    """Raise unless there is a query, of fields that DICOM knows."""
    from pydicom.datadict import tag_for_keyword

    if not query:
        raise InputError("say what to pull, such as --query StudyDate=20260101 or --study UID")
    unknown = [keyword for keyword in query if tag_for_keyword(keyword) is None]
    if unknown:
        raise InputError(f"DICOM has no field '{unknown[0]}'; give keywords such as PatientID")


@contextmanager
def _receiving(settings: PacsSettings, spool: Spool, via: Via, console: Console) -> Iterator[None]:
    """The listener that C-MOVE needs, unless a service listens for this spool already."""
    if via != "c-move" or spool.is_served:
        yield
        return
    from medseg_pipelines.pacs.listener import listening

    with spool.lock(), listening(settings, spool, _log(console)):
        yield


@pacs.command()
@click.argument("files", nargs=-1, required=True, type=file_path)
@_settings
@_peer
@_via("dimse", what="send")
@click.pass_context
def push(
    ctx: click.Context, *, files: tuple[Path, ...], settings: Path, peer: str, via: Via
) -> None:
    """Send FILES (DICOM SEG, SR, RT Structure Set, or folders of them) to a peer."""
    with _opened(settings) as (console, ours, spool):
        from medseg_pipelines.pacs.client import call, connect
        from medseg_pipelines.pacs.errors import PeerError
        from medseg_pipelines.pacs.transfer import Sender

        results, failed = _results(files), 0
        there = ours.peer(peer)
        with connect(there, ours, spool, via=via) as client:
            sender = Sender(client, spool, answers=there.answers)
            for path, seg in results:
                try:
                    deliver = partial(sender.deliver, path, seg=seg)
                    state, sent = call(deliver, ours.retry, pause=partial(_pause, console))
                except PeerError as error:
                    failed += 1
                    console.print(f"{path.name}: not sent, {error} ({error.code})")
                else:
                    console.print(f"{path.name}: {state} {f'as {sent}' if sent else ''}".rstrip())
    ctx.exit(1 if failed else 0)


def _results(paths: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Files that are to be sent, a report behind the label map that it refers to, with that."""
    from medseg_pipelines.pacs.objects import label_map_beside

    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.dcm")) if path.is_dir() else [path]
    if not files:
        raise InputError("there is no .dcm file to send; give a DICOM SEG, SR or RT Structure Set")
    pairs = [(path, label_map_beside(path)) for path in files]
    return sorted(pairs, key=lambda pair: pair[1] is not None)


@contextmanager
def _recovered(settings: PacsSettings, spool: Spool, log: Callable[[str], None]) -> Iterator[None]:
    """A listener, with the state of its spool made whole before."""
    from medseg_pipelines.pacs.listener import listening

    if added := spool.recover():
        log(f"{added} objects were received that were not noted; they are now")
    with listening(settings, spool, log) as port:
        log(f"listening as {settings.own.ae_title} on {settings.own.bind}:{port}")
        yield
    log("stopped; start it again to go on")


@pacs.command()
@_settings
def listen(settings: Path) -> None:
    """Receive series into the spool until stopped."""
    with (
        _opened(settings) as (console, ours, spool),
        spool.lock(),
        _recovered(ours, spool, _log(console)),
    ):
        while not console.stopping:
            time.sleep(_NAP_S)


@pacs.command()
@_settings
def run(settings: Path) -> None:
    """Receive series, segment them and send the results back, until stopped."""
    with _opened(settings) as (console, ours, spool), spool.lock():
        from medseg_pipelines.pacs.segmenting import Segmenter
        from medseg_pipelines.pacs.service import Service

        log = _log(console)
        with (
            Segmenter(ours, spool, log, check=console.check) as segmenter,
            _recovered(ours, spool, log),
        ):
            Service(ours, spool, log, segmenter=segmenter).run(lambda: console.stopping)


@pacs.command()
@_settings
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(settings: Path, *, as_json: bool) -> None:
    """Show what was received, what became of it, and what was given up."""
    with _opened(settings) as (console, _, spool):
        import msgspec

        series, sent = spool.database.series(), spool.database.deliveries()
        if as_json:
            text = msgspec.json.encode({"series": series, "deliveries": sent})
            console.print(msgspec.json.format(text).decode())
            return
        for what, entries in (("Series", series), ("Deliveries", sent)):
            counts = Counter(row.state for row in entries)
            states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            console.print(f"{what + ':':<12}{states or 'none'}")
        unfinished = [row for row in series if row.state != "done" or row.conflicts]
        _show(console, "Series", "series state objects expected conflicts", unfinished)
        unsent = [row for row in sent if row.state in ("waiting", "failed")]
        _show(console, "Deliveries", "delivery series file peer state attempts", unsent)


def _show(console: Console, title: str, names: str, rows: Sequence[Any]) -> None:
    """A table of some fields of the last rows, if there are any, and of what is wrong with each."""
    from rich.table import Table

    fields = names.split()
    table = Table(*(field.replace("_", " ") for field in fields), "remark", title=title)
    for row in rows[-_MOST_SHOWN:]:
        values = {field: getattr(row, field) for field in fields}
        values |= {field: values[field][:_SHORT] for field in _DIGESTS if field in values}
        remark = f"{row.code}: {row.message}" if row.code else getattr(row, "sent", "")
        table.add_row(*("" if value is None else str(value) for value in values.values()), remark)
    if rows:
        console.show(table)


@pacs.command()
@click.argument("names", nargs=-1)
@_settings
@click.option("--refused", is_flag=True, help="Series that were refused, too.")
def retry(names: tuple[str, ...], settings: Path, *, refused: bool) -> None:
    """Try dead letters again: all, or those whose NAMES (beginnings of them) are given."""
    with _opened(settings) as (console, _, spool):
        series = spool.database.series("failed", "refused" if refused else "failed")
        deliveries = spool.database.deliveries("failed")
        counts = [
            sum(spool.requeue(row) for row in rows if not names or row.name.startswith(names))
            for rows in (series, deliveries)
        ]
        console.print(f"{counts[0]} series and {counts[1]} deliveries will be tried again")
