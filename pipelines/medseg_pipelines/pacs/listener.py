"""The listener: C-ECHO and C-STORE for peers that are known, on loopback unless told otherwise."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from medseg.errors import InputError
from medseg_pipelines.pacs.settings import PacsSettings
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.store_handler import StoreHandler, arriving
from medseg_pipelines.pacs.validate import PLAIN_SYNTAXES, SCAN_CLASSES, SYNTAXES

_NOT_YET_ASSOCIATED = 8  # connections above the limit of associations that may wait


@contextmanager
def listening(settings: PacsSettings, spool: Spool, log: Callable[[str], None]) -> Iterator[int]:
    """Storage SCP in threads, with its port; associations under way are broken off at the end."""

    def keep(path: Path, uid: str) -> None:
        kept, received = spool.add(path, announced=uid)
        if kept == "conflict":
            log(
                f"series {received.series[:8]}: an object has the UID of another and other pixels;"
                " it is kept in conflicts/"
            )

    with warnings.catch_warnings(), arriving(spool):
        warnings.simplefilter("ignore")  # the libraries' warnings quote what peers send
        handler = StoreHandler(spool, keep, timeout_s=settings.retry.timeout_s)
        server = _server(settings, handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _server(settings: PacsSettings, handler: StoreHandler) -> Any:
    own, timeout_s = settings.own, settings.retry.timeout_s
    if not settings.callers:
        raise InputError(
            "the settings name nobody who may call: name peers, or ae_titles under [allow]"
        )
    entity = AE(own.ae_title)
    entity.require_called_aet = True
    entity.require_calling_aet = settings.callers
    entity.maximum_associations = settings.limits.associations
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_s
    entity.add_supported_context(Verification, list(PLAIN_SYNTAXES))
    for sop_class in SCAN_CLASSES:
        entity.add_supported_context(sop_class, list(SYNTAXES))
    try:
        server = entity.make_server(
            (own.bind, own.port),
            evt_handlers=handler.handlers(),
            ssl_context=own.tls and own.tls.context(ssl.Purpose.CLIENT_AUTH),
            server_class=_Server,
        )
    except OSError as error:
        raise InputError(
            f"cannot listen on {own.bind}:{own.port}: {error.strerror or error}; check bind, port"
            " and TLS files in the settings"
        ) from error
    server.settings = settings
    return server


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """A server that lets only known addresses in, and waits for no one."""

    settings: PacsSettings

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS shakes hands when it is read first, in a thread of its own."""
        plain, address = self.socket.accept()
        plain.settimeout(self.settings.retry.timeout_s)
        if self.ssl_context is None or not self.settings.allow.admits(address[0]):
            return plain, address
        return self.ssl_context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        ), address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is served at all."""
        del request
        most = self.settings.limits.associations + _NOT_YET_ASSOCIATED
        admitted = self.settings.allow.admits(client_address[0])
        return admitted and len(self.active_associations) < most

    def shutdown(self) -> None:
        """Take no more connections, and break off those that are there."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        for association in self.active_associations:
            association.abort()
            association.join(self.settings.retry.timeout_s)
