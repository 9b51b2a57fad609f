"""What can go wrong with another machine, one sentence each, and what is worth trying again."""

from __future__ import annotations

import importlib.util

from medseg.errors import InputError, MedsegError

PASSING = frozenset({"UNREACHABLE", "TIMEOUT", "RESET", "BUSY", "NOT_KEPT", "INCOMPLETE"})
"""Codes of what may be over at the next attempt."""


class PeerError(MedsegError):
    """Another machine did not do what it was asked.

    These codes may pass: ``UNREACHABLE``, ``TIMEOUT``, ``RESET``, ``BUSY``, ``NOT_KEPT``,
    ``INCOMPLETE``. These stay until somebody changes something: ``REJECTED``, ``CONTEXT``,
    ``FORBIDDEN``, ``TLS``, ``ANSWER``, ``DIFFERS``.
    """

    default_code = "PEER"

    @property
    def passing(self) -> bool:
        """Whether trying again later may help."""
        return self.code in PASSING


def check_extra() -> None:
    """Raise `InputError` unless what ``medseg[pacs]`` adds is installed."""
    missing = [
        name
        for name in ("pynetdicom", "dicomweb_client", "requests")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f"'medseg pacs' needs {', '.join(missing)}, which this installation lacks; install it"
            " with: pip install 'medseg[pacs]'",
            code="MISSING_EXTRA",
        )
