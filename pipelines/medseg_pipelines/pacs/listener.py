"""The listener: C-ECHO and C-STORE for peers that are known, on loopback unless told otherwise."""

from __future__ import annotations

import socket
import socketserver
import threading
import warnings
from pathlib import Path
from typing import Any, Self

from pynetdicom import AE
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from medseg.errors import InputError
from medseg_pipelines.pacs.association import server_context
from medseg_pipelines.pacs.service_log import Log
from medseg_pipelines.pacs.settings import PacsSettings
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.store_handler import Reception, arriving
from medseg_pipelines.pacs.validate import SCAN_CLASSES, SYNTAXES

_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_NOT_YET_ASSOCIATED = 8  # connections above the limit of associations that may wait


class Listener:
    """Storage SCP that runs in threads between ``with`` and its end.

    Parameters
    ----------
    settings : PacsSettings
        Of this machine, who may talk to it, and limits.
    spool : Spool
    log : Log
        Told what comes, without patient text.
    """

    def __init__(self, settings: PacsSettings, spool: Spool, log: Log) -> None:
        self._settings, self._spool, self._log = settings, spool, log
        self._arriving = arriving(spool)
        self._quiet = warnings.catch_warnings()
        self.port = 0

    def __enter__(self) -> Self:
        self._quiet.__enter__()
        warnings.simplefilter("ignore")  # the libraries' warnings quote what peers send
        self._arriving.__enter__()
        try:
            self._server = self._started()
        except BaseException:
            self._arriving.__exit__(None, None, None)
            self._quiet.__exit__(None, None, None)
            raise
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; associations that are under way are broken off."""
        self._server.shutdown()
        self._thread.join()
        self._arriving.__exit__(None, None, None)
        self._quiet.__exit__(None, None, None)

    def _started(self) -> Any:
        settings, own = self._settings, self._settings.own
        if not settings.callers:
            raise InputError(
                "the settings name nobody who may call: name peers, or ae_titles under [allow]"
            )
        entity = AE(own.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = settings.callers
        entity.maximum_associations = settings.limits.associations
        entity.acse_timeout = entity.dimse_timeout = settings.retry.timeout_s
        entity.network_timeout = settings.retry.timeout_s
        entity.add_supported_context(Verification, list(_PLAIN))
        for sop_class in SCAN_CLASSES:
            entity.add_supported_context(sop_class, list(SYNTAXES))
        reception = Reception(self._spool, self._keep, timeout_s=settings.retry.timeout_s)
        try:
            return entity.make_server(
                (own.bind, own.port),
                evt_handlers=reception.handlers(),
                ssl_context=server_context(own.tls) if own.tls else None,
                server_class=_Server,
                settings=settings,
            )
        except OSError as error:
            raise InputError(
                f"cannot listen on {own.bind}:{own.port}: {error.strerror or error}; check bind,"
                " port and TLS files in the settings"
            ) from error

    def _keep(self, path: Path, uid: str) -> None:
        taken, piece = self._spool.take(path, announced=uid)
        if taken == "apart":
            self._log.say(
                f"series {piece.series[:8]}: an object has the UID of another and other pixels;"
                " it is kept apart"
            )


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """A server that lets only known addresses in, and waits for no one."""

    def __init__(self, *arguments: Any, settings: PacsSettings, **options: Any) -> None:
        self._settings = settings
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS shakes hands when it is read first, in a thread of its own."""
        plain, address = self.socket.accept()
        plain.settimeout(self._settings.retry.timeout_s)
        if self.ssl_context is None or not self._settings.allow.admits(address[0]):
            return plain, address
        return self.ssl_context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        ), address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is served at all."""
        del request
        most = self._settings.limits.associations + _NOT_YET_ASSOCIATED
        admitted = self._settings.allow.admits(client_address[0])
        return admitted and len(self.active_associations) < most

    def shutdown(self) -> None:
        """Take no more connections, and break off those that are there."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        for association in self.active_associations:
            association.abort()
            association.join(self._settings.retry.timeout_s)
