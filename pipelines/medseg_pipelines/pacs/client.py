"""A peer that is asked, fetched from and sent to, by DICOMweb or DIMSE alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from medseg.errors import InputError
from medseg_pipelines.pacs.dicomweb import DicomWeb
from medseg_pipelines.pacs.dimse import Dimse
from medseg_pipelines.pacs.errors import PeerError
from medseg_pipelines.pacs.settings import PacsSettings, Peer, Retry
from medseg_pipelines.pacs.spool import Spool

PacsClient = DicomWeb | Dimse
Via = Literal["auto", "dicomweb", "dimse", "c-get", "c-move"]
Answer = TypeVar("Answer")


def connect(peer: Peer, settings: PacsSettings, spool: Spool, *, via: Via = "auto") -> PacsClient:
    """The way to speak to a peer; ``auto`` is DICOMweb where it has that, ``dimse`` is C-GET."""
    web = via == "dicomweb" or (via == "auto" and bool(peer.dicomweb))
    if not (peer.dicomweb if web else peer.host):
        lacks = "dicomweb URL" if web else "host, port and AE title"
        raise InputError(f"the settings give no {lacks} for the peer '{peer.name}'; add it")
    if web:
        return DicomWeb(peer, spool=spool, retry=settings.retry)
    timeout_s = settings.retry.timeout_s
    return Dimse(peer, settings.own, spool=spool, timeout_s=timeout_s, move=via == "c-move")


def call(action: Callable[[], Answer], retry: Retry, *, pause: Callable[[float], None]) -> Answer:
    """Do something until it raises no transient `PeerError`, or attempts are used up."""
    failures = 0
    while True:
        try:
            return action()
        except PeerError as error:
            failures += 1
            if not error.transient or failures >= retry.attempts:
                raise
        pause(retry.wait_s(failures))
