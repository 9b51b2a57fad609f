"""DICOMweb: QIDO-RS to ask, WADO-RS to fetch object by object, STOW-RS to send."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session

from medseg_pipelines.pacs.compare import same_object
from medseg_pipelines.pacs.http_errors import broken, silent, told
from medseg_pipelines.pacs.multipart import boundary_of, unwrap, wrapped
from medseg_pipelines.pacs.offers import OutgoingObject, RemoteSeries, checked_uid
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.settings import Peer, Retry
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.validate import Keep

_PAGE = 500  # answers per question
_MOST_ANSWER = 64 << 20  # bytes of an answer that is held in memory
_CHUNK = 1 << 18
_SLOWEST = 10_000.0  # bytes per second, on the average after the first silence
_STUDY, _SERIES, _OBJECT, _COUNT = "0020000D", "0020000E", "00080018", "00201209"
_MODALITY = "00080060"
_FAILED, _REASON = "00081198", "00081197"
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_NOT_SUPPORTED, _DUPLICATE = 0x0122, 0x0111  # DICOM PS3.7 Annex C
_FULL = 0xA7


class DicomWeb:
    """Connection to the DICOMweb service of a peer.

    Parameters
    ----------
    peer : Peer
    spool : Spool
        Where things are put while they are not whole, and its limits.
    retry : Retry
    """

    def __init__(self, peer: Peer, *, spool: Spool, retry: Retry) -> None:
        self._peer, self._spool, self._timeout_s = peer, spool, retry.timeout_s
        self._base = peer.dicomweb.rstrip("/")
        self._session = _session(peer)
        self._client = DICOMwebClient(
            self._base, session=self._session, callback=_bounded, timeout=retry.timeout_s
        )
        self._client.set_http_retry_params(retry=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def echo(self) -> str:
        """Ask for one study; what the service is called."""
        with told(self._peer.name):
            self._client.search_for_studies(limit=1, fields=["StudyInstanceUID"])
        return "DICOMweb"

    def find(self, query: Mapping[str, str], *, most: int | None = None) -> list[RemoteSeries]:
        """Series that fit a query.

        Parameters
        ----------
        query : mapping of str to str
            Values to match, by DICOM keyword.
        most : int, optional

        Raises
        ------
        PeerError
            When the peer does not answer, or not with series.
        """
        found = []
        for item in self._pages(
            self._client.search_for_series, query, ["NumberOfSeriesRelatedInstances"], most
        ):
            study, series = (
                checked_uid(_value(item, tag), self._name) for tag in (_STUDY, _SERIES)
            )
            count = _value(item, _COUNT)
            found.append(
                RemoteSeries(
                    study_uid=study,
                    series_uid=series,
                    modality=str(_value(item, _MODALITY)),
                    objects=int(count) if str(count).isdecimal() else None,
                )
            )
        return found

    def objects(self, offered: RemoteSeries) -> list[str]:
        """UIDs of the objects of a series."""
        query = {"StudyInstanceUID": offered.study_uid, "SeriesInstanceUID": offered.series_uid}
        search = self._client.search_for_instances
        found = [_value(item, _OBJECT) for item in self._pages(search, query, [], None)]
        return sorted({checked_uid(uid, self._name) for uid in found})

    def fetch(self, offered: RemoteSeries, uids: Sequence[str], keep: Keep) -> None:
        """Fetch objects one by one.

        Parameters
        ----------
        offered : RemoteSeries
        uids : sequence of str
        keep : callable
            Called with each file in the spool's ``incoming``, and its UID.

        Raises
        ------
        PeerError
            When one cannot be fetched.
        """
        for uid in uids:
            keep(self._fetch(offered.study_uid, offered.series_uid, uid), uid)

    def takes(self, sop_class: str) -> bool | None:
        """Unknown: DICOMweb tells when something is sent."""
        del sop_class
        return None

    def holds(self, result: OutgoingObject) -> bool:
        """Whether the peer has a result, as it is here: it is read back and compared.

        Raises
        ------
        PeerError
            Code ``DIFFERS``, when it has another object of that UID.
        """
        query = {
            "StudyInstanceUID": result.study_uid,
            "SeriesInstanceUID": result.series_uid,
            "SOPInstanceUID": result.sop_uid,
        }
        if not list(self._pages(self._client.search_for_instances, query, [], None)):
            return False
        back = self._fetch(result.study_uid, result.series_uid, result.sop_uid)
        try:
            if same_object(result.path, back):
                return True
        finally:
            back.unlink(missing_ok=True)
        raise PeerError(
            f"the peer '{self._name}' has another object under the UID of {result.kind}; remove it"
            " there, or send to another peer",
            code="DIFFERS",
        )

    def send(self, result: OutgoingObject) -> None:
        """Send a result.

        Raises
        ------
        PeerError
            When the peer does not take it; code ``CONTEXT`` when it does not take such objects.
        """
        with wrapped(result.path) as (content_type, body), told(self._name):
            response = self._session.post(
                f"{self._base}/studies",
                data=body,
                timeout=self._timeout_s,
                allow_redirects=False,
                headers={"Content-Type": content_type, "Accept": "application/dicom+json"},
            )
            if response.status_code not in (200, 202, 409):
                response.raise_for_status()
            _check_stored(response, result, self._name)

    @property
    def _name(self) -> str:
        return self._peer.name

    def _pages(
        self, search: Any, query: Mapping[str, str], fields: list[str], most: int | None
    ) -> Iterator[dict[str, Any]]:
        """Answers to a query, asked for in pages."""
        given = 0
        while most is None or given < most:
            with told(self._name):
                page = search(search_filters=dict(query), fields=fields, limit=_PAGE, offset=given)
            yield from page[: None if most is None else most - given]
            given += len(page)
            if len(page) < _PAGE:
                return

    def _fetch(self, study: str, series: str, uid: str) -> Path:
        """One object as a file in ``incoming``."""
        url = f"{self._base}/studies/{study}/series/{series}/instances/{uid}"
        body, target = self._spool.scratch(), self._spool.scratch()
        try:
            with (
                told(self._name),
                self._session.get(
                    url,
                    headers={"Accept": _ACCEPT},
                    stream=True,
                    timeout=self._timeout_s,
                    allow_redirects=False,
                ) as response,
            ):
                response.raise_for_status()
                self._save(response, body)
                boundary = boundary_of(response.headers.get("Content-Type", ""))
            return self._unwrapped(body, boundary, target)
        finally:
            body.unlink(missing_ok=True)

    def _unwrapped(self, body: Path, boundary: str | None, target: Path) -> Path:
        if boundary is None:
            return body.replace(target)
        if not unwrap(body, boundary, target):
            raise broken(self._name)
        return target

    def _save(self, response: Any, body: Path) -> None:
        """Write an answer to a file while it comes, within size and time."""
        start, received = time.monotonic(), 0
        with body.open("wb") as file:
            for chunk in response.iter_content(_CHUNK):
                received += len(chunk)
                self._spool.check_room(received)
                if time.monotonic() - start > self._timeout_s + received / _SLOWEST:
                    raise silent(self._name)
                file.write(chunk)


def _session(peer: Peer) -> Any:
    """HTTP session with the peer's certificates and secrets, and nothing of the environment."""
    session = create_session()
    session.trust_env = False
    if peer.user_env:
        session.auth = (peer.secret(peer.user_env), peer.secret(peer.password_env))
    if peer.token_env:
        session.headers["Authorization"] = f"Bearer {peer.secret(peer.token_env)}"
    if peer.tls is not None:
        session.verify = peer.tls.authorities or True
        session.cert = (peer.tls.certificate, peer.tls.key) if peer.tls.certificate else None
    return session


def _bounded(response: Any, **options: Any) -> Any:
    """Let an answer that is held in memory end when it is too large for that."""
    if not options.get("stream"):
        response.raw = _Bounded(response.raw)
    return response


class _Bounded:
    """Body of an answer, as far as it is not too large."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int, *, decode_content: bool) -> Iterator[bytes]:
        """Pieces of the body."""
        received = 0
        for piece in self._raw.stream(amount, decode_content=decode_content):
            received += len(piece)
            if received > _MOST_ANSWER:
                raise ValueError("too large an answer")
            yield piece


def _value(item: dict[str, Any], tag: str) -> Any:
    """First value of a field of DICOM JSON; empty when absent."""
    values = item.get(tag, {}).get("Value") or [""]
    return values[0]


def _check_stored(response: Any, result: OutgoingObject, peer: str) -> None:
    """Raise `PeerError` when the answer says that the object was not stored."""
    answer = response.json() if response.content else {}
    failed = answer.get(_FAILED, {}).get("Value") or []
    reason = int(_value(failed[0], _REASON) or 0) if failed else 0
    if reason == _DUPLICATE or not (failed or response.status_code == 409):
        return
    code = "BUSY" if reason >> 8 == _FULL else "ANSWER"
    if reason == _NOT_SUPPORTED or not reason:
        code = "CONTEXT"
    raise PeerError(
        f"the peer '{peer}' did not store {result.kind} (reason {reason:#06x}); see its log, or"
        " send another format",
        code=code,
    )
