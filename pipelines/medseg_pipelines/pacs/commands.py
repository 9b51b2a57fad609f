"""What the commands of ``medseg pacs`` do, and what a person sees of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from medseg.errors import InputError
from medseg_pipelines.console import Console
from medseg_pipelines.pacs.client import Via, connected
from medseg_pipelines.pacs.deliveries import Deliveries
from medseg_pipelines.pacs.offers import LABELMAP_SEG, sendable
from medseg_pipelines.pacs.peer_errors import PeerError, check_extra
from medseg_pipelines.pacs.pull import Puller
from medseg_pipelines.pacs.push import Sender
from medseg_pipelines.pacs.retry import call
from medseg_pipelines.pacs.service_log import Log
from medseg_pipelines.pacs.settings import PacsSettings, Peer
from medseg_pipelines.pacs.settings_file import read_settings
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.tables import deliveries_table, pulled_table, series_table

_NAP_S = 0.1
_MOST_SHOWN = 100


@contextmanager
def opened(path: Path) -> Iterator[tuple[PacsSettings, Spool]]:
    """Settings of a file, and their spool.

    Yields
    ------
    tuple of PacsSettings and Spool

    Raises
    ------
    InputError
        When the settings cannot be used, or medseg was installed without ``medseg[pacs]``.
    """
    check_extra()
    settings = read_settings(path)
    spool = Spool(settings.root, settings.limits)
    try:
        yield settings, spool
    finally:
        spool.close()


def echo(path: Path, *, peer: str, console: Console) -> bool:
    """Ask peers whether they answer, in every way the settings give.

    Parameters
    ----------
    path : Path
    peer : str
        Name of one; all when empty.
    console : Console

    Returns
    -------
    bool
        Whether all answered.
    """
    good = True
    with opened(path) as (settings, spool):
        for one in [settings.peer(peer)] if peer else settings.peers:
            for via in _ways(one):
                begun = time.monotonic()
                try:
                    with connected(one, settings, spool, via=via) as line:
                        answered = line.echo()
                except PeerError as error:
                    good = False
                    console.print(f"{one.name}: {error} ({error.code})")
                else:
                    ms = 1000 * (time.monotonic() - begun)
                    console.print(f"{one.name}: answers by {answered} in {ms:.0f} ms")
    return good


def pull(
    path: Path,
    *,
    peer: str,
    query: Mapping[str, str],
    via: Via,
    most: int | None,
    dry: bool,
    console: Console,
) -> bool:
    """Fetch series into the spool.

    Parameters
    ----------
    path : Path
    peer : str
    query : mapping of str to str
        Values to match, by DICOM keyword.
    via : {"auto", "dicomweb", "dimse", "c-get", "c-move"}
    most : int or None
        How many series at most.
    dry : bool
        Whether only to count.
    console : Console
        Told progress and what became of each series.

    Returns
    -------
    bool
        Whether all that was found is here.
    """
    _check_query(query)
    with (
        opened(path) as (settings, spool),
        _receiving(settings, spool, via, console),
        connected(settings.peer(peer), settings, spool, via=via) as line,
    ):
        puller = Puller(line, spool, retry=settings.retry, pause=_pausing(console))
        found = puller.find(query, most=most)
        console.print(
            f"Found:  {len(found)} series, {sum(one.objects or 0 for one in found)} objects"
        )
        pulled = []
        with console.progress("fetching") as progress:
            for number, one in enumerate([] if dry else found):
                progress(number, len(found), "fetching series")
                pulled.append(puller.pull(one))
    if pulled:
        console.show(pulled_table(pulled))
    return not any(one.code for one in pulled)


def push(path: Path, files: Sequence[Path], *, peer: str, via: Via, console: Console) -> bool:
    """Send results to a peer.

    Parameters
    ----------
    path : Path
    files : sequence of Path
        DICOM SEG, SR and RT Structure Set files, or folders with some.
    peer : str
    via : {"auto", "dicomweb", "dimse"}
    console : Console
        Told what became of each.

    Returns
    -------
    bool
        Whether all are there.
    """
    results = _results(files)
    good = True
    with opened(path) as (settings, spool):
        there = settings.peer(peer)
        with connected(there, settings, spool, via=via) as line:
            courier = Sender(line, spool, answers=there.answers)
            for one, seg in results:
                try:
                    state, sent = call(
                        lambda one=one, seg=seg: courier.deliver(one, seg=seg),  # type: ignore[misc]
                        settings.retry,
                        pause=_pausing(console),
                    )
                except PeerError as error:
                    good = False
                    console.print(f"{one.name}: not sent, {error} ({error.code})")
                else:
                    console.print(f"{one.name}: {state} {f'as {sent}' if sent else ''}".rstrip())
    return good


def listen(path: Path, *, console: Console) -> None:
    """Receive series until stopped."""
    with opened(path) as (settings, spool), spool.alone():
        log = Log(console.print)
        with _listening(settings, spool, log):
            while not console.stopping:
                time.sleep(_NAP_S)


def serve(path: Path, *, console: Console) -> None:
    """Receive series, segment them, send the results, until stopped."""
    from medseg_pipelines.pacs.segmenting import Segmenter
    from medseg_pipelines.pacs.service import Service

    with opened(path) as (settings, spool), spool.alone():
        log = Log(console.print)
        with (
            Segmenter(settings, spool, log, check=console.check) as segmenter,
            _listening(settings, spool, log),
        ):
            service = Service(settings, spool, log, segmenting=segmenter)
            service.run(lambda: console.stopping)


def status(path: Path, *, as_json: bool, console: Console) -> None:
    """Show how many series came and results went, and those that wait or were given up.

    Parameters
    ----------
    path : Path
    as_json : bool
        Whether for programs.
    console : Console
    """
    with opened(path) as (_, spool):
        series = spool.register.series()
        sent = Deliveries(spool.register).rows()
    if as_json:
        text = msgspec.json.encode({"series": series, "deliveries": sent})
        console.print(msgspec.json.format(text).decode())
        return
    for what, rows in (("Series", series), ("Deliveries", sent)):
        counts = Counter(row.state for row in rows)
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        console.print(f"{what + ':':<12}{told or 'none'}")
    open_series = [row for row in series if row.state != "done" or row.apart]
    unsent = [row for row in sent if row.state in ("waiting", "dead")]
    if open_series:
        console.show(series_table(open_series[-_MOST_SHOWN:]))
    if unsent:
        console.show(deliveries_table(unsent[-_MOST_SHOWN:]))


def retry(path: Path, names: Sequence[str], *, refused: bool, console: Console) -> None:
    """Let dead letters be tried again; a series that is incomplete, with what there is of it.

    Parameters
    ----------
    path : Path
    names : sequence of str
        Beginnings of their names; all when empty.
    refused : bool
        Whether series that were refused are tried again too.
    console : Console
    """
    with opened(path) as (_, spool):
        deliveries = Deliveries(spool.register)
        lost = spool.register.series("dead", "refused" if refused else "dead")
        dead = [row for row in lost if _meant(row.series, names)]
        unsent = [row for row in deliveries.rows("dead") if _meant(row.delivery, names)]
        for row in dead:
            spool.register.requeue(row)
            spool.requeue(row.series)
        for letter in unsent:
            deliveries.requeue(letter)
            spool.requeue(letter.delivery)
    console.print(f"{len(dead)} series and {len(unsent)} deliveries will be tried again")


def _meant(name: str, beginnings: Sequence[str]) -> bool:
    return not beginnings or name.startswith(tuple(beginnings))


def _check_query(query: Mapping[str, str]) -> None:
    """Raise unless there is a query, of fields that DICOM knows."""
    from pydicom.datadict import tag_for_keyword

    if not query:
        raise InputError("say what to pull, such as --query StudyDate=20260101 or --study UID")
    unknown = [keyword for keyword in query if tag_for_keyword(keyword) is None]
    if unknown:
        raise InputError(f"DICOM has no field '{unknown[0]}'; give keywords such as PatientID")


def _ways(peer: Peer) -> list[Via]:
    ways: list[tuple[Via, str]] = [("dicomweb", peer.dicomweb), ("dimse", peer.host)]
    return [via for via, given in ways if given]


def _pausing(console: Console) -> Callable[[float], None]:
    """Waiting that Ctrl-C ends."""

    def pause(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            console.check()
            time.sleep(min(_NAP_S, left))

    return pause


@contextmanager
def _receiving(settings: PacsSettings, spool: Spool, via: Via, console: Console) -> Iterator[None]:
    """The listener that C-MOVE needs, unless a service listens for this spool already."""
    if via != "c-move" or spool.is_served:
        yield
        return
    from medseg_pipelines.pacs.listener import Listener

    with spool.alone(), Listener(settings, spool, Log(console.print)):
        yield


@contextmanager
def _listening(settings: PacsSettings, spool: Spool, log: Log) -> Iterator[None]:
    """The listener of a service, with its state made whole before."""
    from medseg_pipelines.pacs.listener import Listener

    found = spool.recover()
    if found:
        log.say(f"{found} objects were received that were not noted; they are now")
    with Listener(settings, spool, log) as listener:
        log.say(f"listening as {settings.own.ae_title} on {settings.own.bind}:{listener.port}")
        yield
    log.say("stopped; start it again to go on")


def _results(paths: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Files that are to be sent, a report behind the label map that it refers to, with that."""
    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.dcm")) if path.is_dir() else [path]
    if not files:
        raise InputError("there is no .dcm file to send; give a DICOM SEG, SR or RT Structure Set")
    pairs = [(one, _map_beside(one)) for one in files]
    return sorted(pairs, key=lambda pair: pair[1] is not None)


def _map_beside(path: Path) -> Path | None:
    """The label-map SEG in the folder of a report."""
    seg = path.with_name("seg.dcm")
    if not path.name.endswith(".sr.dcm") or not seg.is_file():
        return None
    return seg if sendable(seg).sop_class == LABELMAP_SEG else None
