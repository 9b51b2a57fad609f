"""What can go wrong with another machine, one sentence each, and what is worth trying again."""

from __future__ import annotations

import importlib.util

from medseg.errors import InputError, MedsegError, ReadError, WriteError

TRANSIENT = frozenset({"UNREACHABLE", "TIMEOUT", "RESET", "BUSY", "NOT_KEPT", "INCOMPLETE"})
"""Codes of what may be over at the next attempt."""


class PeerError(MedsegError):
    """Another machine did not do what it was asked.

    ``REJECTED``, ``CONTEXT``, ``FORBIDDEN``, ``TLS``, ``ANSWER`` and ``DIFFERS`` stay until
    somebody changes something; those of `TRANSIENT` may pass.
    """

    default_code = "PEER"

    @property
    def transient(self) -> bool:
        """Whether trying again later may help."""
        return self.code in TRANSIENT


class RefusedError(ReadError):
    """An object that was received is not kept."""


class NoRoomError(WriteError):
    """What is received would go beyond a limit."""

    default_code = "NO_ROOM"


def peer_error(peer: str, code: str, what: str) -> PeerError:
    """For what a peer, by name, did or did not do."""
    return PeerError(f"the peer '{peer}' {what}", code=code)


def timed_out(peer: str) -> PeerError:
    """For a peer that takes too long."""
    what = "did not answer in time; try again later, or raise timeout_s in the settings"
    return peer_error(peer, "TIMEOUT", what)


def broken(peer: str) -> PeerError:
    """For a connection that ended in the middle."""
    text = f"the connection to the peer '{peer}' broke off in the middle; try again"
    return PeerError(text, code="RESET")


def unreachable(peer: str, at: str = "") -> PeerError:
    """For a peer without an address, or with nobody there."""
    what = f"cannot be reached{at}; check its address in the settings, and whether it runs"
    return peer_error(peer, "UNREACHABLE", what)


def check_extra() -> None:
    """Raise `InputError` unless what ``medseg[pacs]`` adds is installed."""
    needed = ("pynetdicom", "dicomweb_client", "requests")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"'medseg pacs' needs {', '.join(missing)}, which this installation lacks; install it"
            " with: pip install 'medseg[pacs]'",
            code="MISSING_EXTRA",
        )
