"""How objects arrive by C-STORE: piece by piece into the spool, within limits, never in memory.

Used by the listener, and by C-GET, which receives over the association that asked.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynetdicom import _config, evt

from medseg.errors import MedsegError, WriteError
from medseg_pipelines.pacs.errors import NoRoomError, RefusedError
from medseg_pipelines.pacs.objects import Keep
from medseg_pipelines.pacs.spool import Spool

_config.LOG_HANDLER_LEVEL = "none"  # its messages quote what peers send
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
_config.STORE_SEND_CHUNKED_DATASET = True

SUCCESS, FULL, MISMATCH, CANNOT = 0x0000, 0xA700, 0xA900, 0xC000
"""Statuses of C-STORE (DICOM PS3.4 B.2.3)."""

_LONGEST_PDU = 1 << 20  # peers are asked for 16 KiB
_MOST_ON_FULL_DISK = 1 << 26  # an object below this is received, and refused by its status
_HEADERS = 1 << 16  # bytes that a message has besides its data set, at most


@contextmanager
def arriving(spool: Spool) -> Iterator[None]:
    """Let arriving objects be files in the spool's ``incoming`` from the first byte on."""
    before = (_config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir)
    _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = True, str(spool.incoming)
    try:
        yield
    finally:
        _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = before


class StoreHandler:
    """What is done with each object that a peer sends.

    `keep` gets each whole file and its UID, and raises to refuse it; `error` is the first refusal.
    """

    def __init__(self, spool: Spool, keep: Keep, *, timeout_s: float) -> None:
        self._spool, self._keep, self._timeout_s = spool, keep, timeout_s
        self._received: Counter[int] = Counter()
        self.error: MedsegError | None = None

    def handlers(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        """Event handlers for an association."""
        return [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._count),
            (evt.EVT_DIMSE_RECV, lambda event: self._received.pop(id(event.assoc), None)),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_CONN_OPEN, self._opened),
        ]

    def _store(self, event: Any) -> int:
        """Keep an object; the status that the peer is told."""
        path = Path(event.dataset_path)
        try:
            self._keep(path, str(event.request.AffectedSOPInstanceUID))
        except MedsegError as error:
            self.error = self.error or error
            if isinstance(error, WriteError):
                return FULL
            names = isinstance(error, RefusedError) and error.code in ("CLASS", "NAME")
            return MISMATCH if names else CANNOT
        finally:
            path.unlink(missing_ok=True)
        return SUCCESS

    def _opened(self, event: Any) -> None:
        """Let no read last longer than `timeout_s`, or be longer than any message is."""
        connection = event.assoc.dul.socket
        connection.socket.settimeout(self._timeout_s)
        receive = connection.recv

        def bounded(count: int) -> bytearray:
            if count > _LONGEST_PDU:
                raise OSError("too long a message")
            return bytearray(receive(count))

        connection.recv = bounded

    def _count(self, event: Any) -> None:
        """Break the connection when an object grows beyond its limit."""
        association = event.assoc
        self._received[id(association)] += getattr(event.pdu, "pdu_length", 0)
        received = self._received[id(association)]
        try:
            self._spool.check_room(max(0, received - _HEADERS))
        except NoRoomError as error:
            if error.code != "DISK_FULL" or received > _MOST_ON_FULL_DISK:
                association.dul.socket.close()

    def _closed(self, event: Any) -> None:
        """Remove what came of an object that was broken off."""
        self._received.pop(id(event.assoc), None)
        half = getattr(event.assoc.dimse.message, "_data_set_path", None)
        if half is not None:
            Path(half).unlink(missing_ok=True)
