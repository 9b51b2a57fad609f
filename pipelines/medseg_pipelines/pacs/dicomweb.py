"""DICOMweb: QIDO-RS to ask, WADO-RS to fetch object by object, STOW-RS to send."""

from __future__ import annotations

import functools
import itertools
import mmap
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import requests
from dicomweb_client import DICOMwebClient

from medseg_pipelines.pacs.errors import PeerError, broken, peer_error, timed_out, unreachable
from medseg_pipelines.pacs.objects import (
    Keep,
    OutgoingObject,
    RemoteSeries,
    checked_uid,
    remote_series,
    same_object,
)
from medseg_pipelines.pacs.settings import Peer, Retry
from medseg_pipelines.pacs.spool import Spool

_PAGE = 500  # answers per question
_MOST_ANSWER = 64 << 20  # bytes of an answer that is held in memory
_CHUNK = 1 << 18
_SLOWEST = 10_000.0  # bytes per second, on the average after the first silence
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHECK_URL = "check its dicomweb URL in the settings"
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_NOT_SUPPORTED, _DUPLICATE = 0x0122, 0x0111  # DICOM PS3.7 Annex C
_STUDY, _SERIES, _OBJECT = "0020000D", "0020000E", "00080018"
_COUNT, _MODALITY = "00201209", "00080060"
_FAILED, _REASON = "00081198", "00081197"


class DicomWeb:
    """Connection to the DICOMweb service of a peer; one of `client.PacsClient`."""

    def __init__(self, peer: Peer, *, spool: Spool, retry: Retry) -> None:
        self._name, self._spool, self._timeout_s = peer.name, spool, retry.timeout_s
        self._studies = f"{peer.dicomweb.rstrip('/')}/studies"
        self._session = _session(peer)
        self._client = DICOMwebClient(
            peer.dicomweb.rstrip("/"), session=self._session, timeout=retry.timeout_s
        )
        # its retries know no broken connection; ours are those of client.call
        self._client.set_http_retry_params(retry=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def echo(self) -> str:
        """Ask for one study."""
        with self._explained():
            self._client.search_for_studies(limit=1, fields=["StudyInstanceUID"])
        return "DICOMweb"

    def find(self, query: Mapping[str, str], *, most: int | None = None) -> list[RemoteSeries]:
        """Series that match values by DICOM keyword."""
        fields = ["NumberOfSeriesRelatedInstances"]
        items = self._pages(self._client.search_for_series, query, fields, most)
        tags = (_STUDY, _SERIES, _MODALITY, _COUNT)
        return [remote_series(self._name, *(_value(item, tag) for tag in tags)) for item in items]

    def objects(self, series: RemoteSeries) -> list[str]:
        """UIDs of the objects of a series."""
        items = self._pages(self._client.search_for_instances, series.query)
        return sorted({checked_uid(_value(item, _OBJECT), self._name) for item in items})

    def fetch(self, series: RemoteSeries, uids: Sequence[str], keep: Keep) -> None:
        """Fetch objects one by one."""
        for uid in uids:
            keep(self._fetch(series.study_uid, series.series_uid, uid), uid)

    def accepts(self, sop_class: str) -> bool | None:
        """Unknown: DICOMweb says so when something is sent."""
        del sop_class
        return None

    def holds(self, result: OutgoingObject) -> bool:
        """Whether the peer has a result, as it is here: it is read back and compared."""
        if not list(self._pages(self._client.search_for_instances, result.query)):
            return False
        back = self._fetch(result.study_uid, result.series_uid, result.sop_uid)
        same = same_object(result.path, back)
        back.unlink()
        if not same:
            what = (
                f"has another object under the UID of {result.kind}; remove it there, or send to"
                " another peer"
            )
            raise peer_error(self._name, "DIFFERS", what)
        return True

    def send(self, result: OutgoingObject) -> None:
        """Send a result, byte by byte as it is."""
        mark = uuid.uuid4().hex
        head = f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = head + result.path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={mark}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        with self._explained():
            response = self._session.post(
                self._studies, data=body, headers=headers, timeout=self._timeout_s
            )
            if response.status_code != 409:
                response.raise_for_status()
            answer = response.json() if response.content else {}
            failed = (answer.get(_FAILED, {}).get("Value") or [None])[0]
            reason = int(_value(failed, _REASON) or 0) if failed else 0
        if reason == _DUPLICATE or not (failed or response.status_code == 409):
            return
        code = "CONTEXT" if reason in (_NOT_SUPPORTED, 0) else "ANSWER"
        raise peer_error(
            self._name,
            "BUSY" if reason >> 8 == 0xA7 else code,
            f"did not store {result.kind} (reason {reason:#06x}); see its log, or send another"
            " format",
        )

    def _pages(
        self,
        search: Any,
        query: Mapping[str, str],
        fields: Sequence[str] = (),
        most: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Answers to a query, asked for in pages."""
        for start in itertools.count(0, _PAGE):
            with self._explained():
                page = search(search_filters=dict(query), fields=fields, limit=_PAGE, offset=start)
            yield from page[: None if most is None else most - start]
            if len(page) < _PAGE or (most is not None and most <= start + _PAGE):
                return

    def _fetch(self, study: str, series: str, uid: str) -> Path:
        """One object as a file in ``incoming``, written while it comes."""
        url = f"{self._studies}/{study}/series/{series}/instances/{uid}"
        body, target = self._spool.scratch(), self._spool.scratch()
        try:
            with (
                self._explained(),
                self._session.get(
                    url, headers={"Accept": _ACCEPT}, stream=True, timeout=self._timeout_s
                ) as response,
            ):
                response.raise_for_status()
                self._save(response, body)
            kind = response.headers.get("Content-Type", "")
            boundary = re.search(r'boundary="?([^";]+)', kind) if "multipart" in kind else None
            if boundary is None:
                return body.replace(target)
            if not _first_part(body, boundary[1].encode("ascii", "replace"), target):
                raise broken(self._name)
            return target
        finally:
            body.unlink(missing_ok=True)

    def _save(self, response: requests.Response, body: Path) -> None:
        """Write an answer to a file, within size and time."""
        start, received = time.monotonic(), 0
        with body.open("wb") as file:
            for chunk in response.iter_content(_CHUNK):
                received += len(chunk)
                self._spool.check_room(received)
                if time.monotonic() - start > self._timeout_s + received / _SLOWEST:
                    raise timed_out(self._name)
                file.write(chunk)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what goes wrong with HTTP inside into `PeerError`."""
        try:
            yield
        except requests.HTTPError as error:
            raise self._refusal(error.response.status_code) from error
        except requests.exceptions.SSLError as error:
            raise PeerError(
                f"the TLS connection to the peer '{self._name}' failed; check certificates and"
                " authorities in the settings",
                code="TLS",
            ) from error
        except requests.Timeout as error:
            raise timed_out(self._name) from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            if "Read timed out" in str(error):
                raise timed_out(self._name) from error
            if re.search("NewConnectionError|NameResolutionError", repr(error)):
                raise unreachable(self._name) from error
            raise broken(self._name) from error
        except (requests.RequestException, ValueError) as error:
            what = f"answered with something that is no DICOMweb ({type(error).__name__})"
            raise peer_error(self._name, "ANSWER", f"{what}; {_CHECK_URL}") from error

    def _refusal(self, status: int) -> PeerError:
        """For an answer that is an error of HTTP."""
        if status in (401, 403):
            what = (
                f"refuses access (HTTP {status}); check the user, password or token that the"
                " settings name, and the peer's own rights"
            )
            return peer_error(self._name, "FORBIDDEN", what)
        if status in _BUSY:
            what = f"is busy or broken (HTTP {status}); try again later"
            return peer_error(self._name, "BUSY", what)
        code = "CONTEXT" if status in (409, 415) else "ANSWER"
        return peer_error(self._name, code, f"refused the request (HTTP {status}); {_CHECK_URL}")


def _session(peer: Peer) -> requests.Session:
    """HTTP session with the peer's certificates and secrets, and nothing of the environment."""
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0  # patients go where the settings say, and nowhere else
    session.hooks["response"] = [_bounded]
    if peer.user_env:
        session.auth = (peer.secret(peer.user_env), peer.secret(peer.password_env))
    if peer.token_env:
        session.headers["Authorization"] = f"Bearer {peer.secret(peer.token_env)}"
    if peer.tls is not None:
        session.verify = peer.tls.authorities or True
        session.cert = (peer.tls.certificate, peer.tls.key) if peer.tls.certificate else None
    return session


def _bounded(response: requests.Response, **options: Any) -> None:
    """Let an answer that is held in memory end when it is too large for that."""
    if options.get("stream"):
        return
    pieces = response.raw.stream

    @functools.wraps(pieces)
    def stream(*arguments: Any, **more: Any) -> Iterator[bytes]:
        received = 0
        for piece in pieces(*arguments, **more):
            received += len(piece)
            if received > _MOST_ANSWER:
                raise ValueError("too large an answer")
            yield piece

    response.raw.stream = stream


def _value(item: dict[str, Any], tag: str) -> Any:
    """First value of a field of DICOM JSON; empty when absent."""
    return (item.get(tag, {}).get("Value") or [""])[0]


def _first_part(body: Path, boundary: bytes, target: Path) -> bool:
    """Write the part of a multipart body of one; False when the body is not whole.

    The client's own decoder takes a body that was cut short for a whole one.
    """
    if not body.stat().st_size:
        return False
    with (
        body.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        mark = data.find(b"--" + boundary)
        start, end = data.find(b"\r\n\r\n", mark) + 4, data.rfind(b"\r\n--" + boundary + b"--")
        if mark < 0 or start < 4 or end < start:
            return False
        with memoryview(data) as view, view[start:end] as part:
            target.write_bytes(part)
    return True
