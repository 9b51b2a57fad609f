"""What HTTP libraries and servers say went wrong, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from medseg_pipelines.pacs.peer_errors import PeerError

_BUSY = {408, 425, 429, 500, 502, 503, 504}


@contextmanager
def told(peer: str) -> Iterator[None]:
    """Turn what goes wrong with DICOMweb inside into `PeerError`.

    Parameters
    ----------
    peer : str
        Name of the peer, for the sentence.
    """
    try:
        yield
    except requests.HTTPError as error:
        raise _status(error.response, peer) from error
    except requests.exceptions.SSLError as error:
        raise PeerError(
            f"the TLS connection to the peer '{peer}' failed; check certificates and authorities"
            " in the settings",
            code="TLS",
        ) from error
    except requests.Timeout as error:
        raise silent(peer) from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _broken(error, peer) from error
    except (requests.RequestException, ValueError) as error:
        raise PeerError(
            f"the peer '{peer}' answered with something that is no DICOMweb"
            f" ({type(error).__name__}); check its dicomweb URL in the settings",
            code="ANSWER",
        ) from error


def silent(peer: str) -> PeerError:
    """For a peer that takes too long."""
    return PeerError(
        f"the peer '{peer}' did not answer in time; try again later, or raise timeout_s in the"
        " settings",
        code="TIMEOUT",
    )


def broken(peer: str) -> PeerError:
    """For a connection that ended in the middle."""
    return PeerError(
        f"the connection to the peer '{peer}' broke off in the middle; try again", code="RESET"
    )


def _broken(error: Exception, peer: str) -> PeerError:
    """For a connection that was never there, took too long or broke."""
    words = _causes(error)
    if "ReadTimeoutError" in words:
        return silent(peer)
    if words & {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}:
        return PeerError(
            f"the peer '{peer}' cannot be reached; check its address in the settings, and whether"
            " it runs",
            code="UNREACHABLE",
        )
    return broken(peer)


def _causes(error: BaseException) -> set[str]:
    """Type names of an error and of all that it carries."""
    names: set[str] = set()
    pending: list[Any] = [error]
    while pending:
        one = pending.pop()
        if not isinstance(one, BaseException) or type(one).__name__ in names:
            continue
        names.add(type(one).__name__)
        pending += [*one.args, one.__cause__, one.__context__, getattr(one, "reason", None)]
    return names


def _status(response: Any, peer: str) -> PeerError:
    """For an answer that is a refusal."""
    number = int(response.status_code) if response is not None else 0
    if number in (401, 403):
        return PeerError(
            f"the peer '{peer}' refuses access (HTTP {number}); check the user, password or token"
            " that the settings name, and the peer's own rights",
            code="FORBIDDEN",
        )
    if number in _BUSY:
        return PeerError(
            f"the peer '{peer}' is busy or broken (HTTP {number}); try again later", code="BUSY"
        )
    return PeerError(
        f"the peer '{peer}' refused the request (HTTP {number}); check its dicomweb URL in the"
        " settings",
        code="CONTEXT" if number in (409, 415) else "ANSWER",
    )
