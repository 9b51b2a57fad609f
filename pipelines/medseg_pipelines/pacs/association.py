"""Associations with DIMSE peers, and why there is none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, evt

from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.settings import Own, Peer, Tls

Context = tuple[str, tuple[str, ...]]
Handlers = Sequence[tuple[Any, Callable[[Any], Any]]]
_WRONG_CALLED, _WRONG_CALLING = 7, 3  # DICOM PS3.8 9.3.4
_TRANSIENT = 2


@contextmanager
def associated(
    peer: Peer,
    own: Own,
    contexts: Sequence[Context],
    *,
    timeout_s: float,
    roles: Sequence[Any] = (),
    handlers: Handlers = (),
) -> Iterator[Any]:
    """An association, released at the end.

    Parameters
    ----------
    peer, own : Peer, Own
    contexts : sequence of tuple
        SOP classes with their transfer syntaxes; each is asked for by itself.
    timeout_s : float
        Seconds that the peer may be silent.
    roles : sequence, optional
    handlers : sequence of tuple, optional
        Events and what is done on them.

    Yields
    ------
    pynetdicom.association.Association

    Raises
    ------
    PeerError
        When there is none, or none of the contexts is accepted.
    """
    entity = AE(own.ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_s
    entity.connection_timeout = timeout_s
    for sop_class, syntaxes in contexts:
        entity.add_requested_context(sop_class, list(syntaxes))
    begun = time.monotonic()
    opened: list[Any] = []
    patient = (evt.EVT_CONN_OPEN, lambda event: _limit(event, opened, timeout_s))
    association = entity.associate(
        _address(peer),
        peer.port,
        ae_title=peer.ae_title,
        ext_neg=list(roles) or None,
        tls_args=_tls_of(peer),
        evt_handlers=[*handlers, patient],
    )
    if not association.is_established:
        waited = time.monotonic() - begun >= timeout_s
        raise _refusal(association, peer) or _failure(peer, timeout_s, bool(opened), waited)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def lost(association: Any, peer: Peer) -> PeerError:
    """For an answer that did not come."""
    if association.is_aborted or not association.is_established:
        return PeerError(
            f"the connection to the peer '{peer.name}' broke off in the middle; try again",
            code="RESET",
        )
    return PeerError(
        f"the peer '{peer.name}' did not answer in time; try again later, or raise timeout_s in"
        " the settings",
        code="TIMEOUT",
    )


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS of a listener; with authorities, peers must show a certificate of theirs."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.authorities:
        context.load_verify_locations(tls.authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _limit(event: Any, opened: list[Any], timeout_s: float) -> None:
    """Note that the connection is there, and let no read last longer than the time limit."""
    opened.append(True)
    event.assoc.dul.socket.socket.settimeout(timeout_s)


def _address(peer: Peer) -> str:
    """The peer's address by number."""
    try:
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _unreachable(peer) from error
    return str(found[0][4][0])


def _tls_of(peer: Peer) -> tuple[ssl.SSLContext, str] | None:
    if peer.tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=peer.tls.authorities or None)
        if peer.tls.certificate:
            context.load_cert_chain(peer.tls.certificate, peer.tls.key)
    except OSError as error:
        raise PeerError(
            f"the TLS files of the peer '{peer.name}' cannot be used; check certificate, key and"
            " authorities in the settings",
            code="TLS",
        ) from error
    return context, peer.host


def _refusal(association: Any, peer: Peer) -> PeerError | None:
    """For a peer that answered, and said no."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        if answer.result == _TRANSIENT:
            return PeerError(
                f"the peer '{peer.name}' takes no more associations at present; try again later",
                code="BUSY",
            )
        why = {
            _WRONG_CALLED: f"it is not called {peer.ae_title}",
            _WRONG_CALLING: "it does not know the AE title of this machine",
        }.get(answer.diagnostic, "it gives no reason")
        return PeerError(
            f"the peer '{peer.name}' rejected the association: {why}; check the AE titles here"
            " and there",
            code="REJECTED",
        )
    if association.rejected_contexts and not association.accepted_contexts:
        return PeerError(
            f"the peer '{peer.name}' takes no objects or questions of this kind (no presentation"
            " context was accepted); check what it supports",
            code="CONTEXT",
        )
    return None


def _failure(peer: Peer, timeout_s: float, opened: bool, waited: bool) -> PeerError:
    """For a peer that did not answer: found out by knocking once more."""
    if opened and waited:
        return PeerError(
            f"the peer '{peer.name}' did not answer in time; try again later, or raise timeout_s"
            " in the settings",
            code="TIMEOUT",
        )
    if not opened:
        try:
            with socket.create_connection((peer.host, peer.port), timeout=timeout_s) as plain:
                _shake_hands(peer, plain)
        except (ssl.SSLError, ssl.CertificateError) as error:
            return _no_tls(peer, error)
        except OSError:
            return _unreachable(peer)
    return PeerError(
        f"the peer '{peer.name}' broke off the connection without a word; check that a DICOM"
        " service runs there, and whether it wants TLS",
        code="RESET",
    )


def _shake_hands(peer: Peer, plain: socket.socket) -> None:
    tls = _tls_of(peer)
    if tls is not None:
        context, name = tls
        with contextlib.closing(context.wrap_socket(plain, server_hostname=name)):
            pass


def _no_tls(peer: Peer, error: ssl.SSLError) -> PeerError:
    why = getattr(error, "verify_message", "") or "the two sides do not agree"
    return PeerError(
        f"the TLS connection to the peer '{peer.name}' failed: {why}; check certificates and"
        " authorities in the settings",
        code="TLS",
    )


def _unreachable(peer: Peer) -> PeerError:
    return PeerError(
        f"the peer '{peer.name}' cannot be reached at {peer.host}:{peer.port}; check its address"
        " in the settings, and whether it runs",
        code="UNREACHABLE",
    )
