"""How a peer is spoken to: one form for DICOMweb and DIMSE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, Self

from medseg.errors import InputError
from medseg_pipelines.pacs.offers import OutgoingObject, RemoteSeries
from medseg_pipelines.pacs.settings import PacsSettings, Peer
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.validate import Keep

Via = Literal["auto", "dicomweb", "dimse", "c-get", "c-move"]


class PacsClient(Protocol):
    """A peer that is asked, fetched from and sent to."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def echo(self) -> str:
        """Whether it answers; what it was asked by."""
        ...

    def find(self, query: Mapping[str, str], *, most: int | None = None) -> list[RemoteSeries]:
        """Series that fit a query."""
        ...

    def objects(self, offered: RemoteSeries) -> list[str]:
        """UIDs of the objects of a series."""
        ...

    def fetch(self, offered: RemoteSeries, uids: Sequence[str], keep: Keep) -> None:
        """Fetch objects of a series one by one."""
        ...

    def takes(self, sop_class: str) -> bool | None:
        """Whether it takes objects of a class; None when it cannot be asked."""
        ...

    def holds(self, result: OutgoingObject) -> bool:
        """Whether it has a result."""
        ...

    def send(self, result: OutgoingObject) -> None:
        """Send a result."""
        ...


def connected(peer: Peer, settings: PacsSettings, spool: Spool, *, via: Via = "auto") -> PacsClient:
    """The way to speak to a peer.

    Parameters
    ----------
    peer : Peer
    settings : PacsSettings
    spool : Spool
        Where things are put while they are not whole.
    via : {"auto", "dicomweb", "dimse", "c-get", "c-move"}
        ``auto`` is DICOMweb where the peer has it; ``dimse`` fetches by C-GET.

    Raises
    ------
    InputError
        When the settings do not say how the peer is reached in this way.
    """
    web = via == "dicomweb" or (via == "auto" and bool(peer.dicomweb))
    if not (peer.dicomweb if web else peer.host):
        lacks = "dicomweb URL" if web else "host, port and AE title"
        raise InputError(f"the settings give no {lacks} for the peer '{peer.name}'; add it")
    if web:
        from medseg_pipelines.pacs.dicomweb import DicomWeb

        return DicomWeb(peer, spool=spool, retry=settings.retry)
    from medseg_pipelines.pacs.dimse import Dimse

    return Dimse(
        peer,
        settings.own,
        spool=spool,
        timeout_s=settings.retry.timeout_s,
        method="c-move" if via == "c-move" else "c-get",
    )
