"""DIMSE: C-ECHO, C-FIND to ask, C-GET or C-MOVE to fetch, C-STORE to send."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom import sop_class as sop

from medseg.reading.dicom.headers import as_text
from medseg_pipelines.pacs.errors import PeerError, broken, peer_error, timed_out, unreachable
from medseg_pipelines.pacs.objects import (
    Keep,
    OutgoingObject,
    RemoteSeries,
    checked_uid,
    remote_series,
)
from medseg_pipelines.pacs.settings import Own, Peer
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.store_handler import StoreHandler, arriving
from medseg_pipelines.pacs.validate import PLAIN_SYNTAXES, SCAN_CLASSES, SYNTAXES

_FIND = sop.StudyRootQueryRetrieveInformationModelFind
_GET = sop.StudyRootQueryRetrieveInformationModelGet
_MOVE = sop.StudyRootQueryRetrieveInformationModelMove
_SERIES_KEYS = (
    *("Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "BodyPartExamined"),
    *("ProtocolName", "SeriesDate", "SeriesTime", "PerformedStationAETitle"),
)
_SERIES_FIELDS = ("SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
_AT_ONCE = 64  # objects that are asked for by one request
_MOST_ANSWERS = 200_000
_PENDING, _WARNINGS = (0xFF00, 0xFF01), (0xB000, 0xB006, 0xB007)
_MOVE_DESTINATION_UNKNOWN = 0xA801
_REJECTED = {  # diagnostics of DICOM PS3.8 9.3.4
    3: "it does not know the AE title of this machine",
    7: "it is not called {title}",
}
_REJECTED_FOR_NOW = 2


class Dimse:
    """A DIMSE peer, one of `client.PacsClient`; each method makes an association of its own.

    With `move` objects are fetched by C-MOVE, which needs a listener that the peer knows.
    """

    def __init__(
        self, peer: Peer, own: Own, *, spool: Spool, timeout_s: float, move: bool = False
    ) -> None:
        self._peer, self._own, self._spool = peer, own, spool
        self._timeout_s, self._move = timeout_s, move

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between requests."""

    def echo(self) -> str:
        """C-ECHO."""
        with self._associated((sop.Verification, PLAIN_SYNTAXES)) as association:
            self._check(association, association.send_c_echo())
        return "DIMSE"

    def find(self, query: Mapping[str, str], *, most: int | None = None) -> list[RemoteSeries]:
        """Series that match values by DICOM keyword, by study first as the standard asks."""
        of_series = {key: value for key, value in query.items() if key in _SERIES_KEYS}
        of_study = {key: value for key, value in query.items() if key not in _SERIES_KEYS}
        series: list[RemoteSeries] = []
        with self._associated((_FIND, PLAIN_SYNTAXES)) as association:
            for study in self._ask(association, "STUDY", {"StudyInstanceUID": "", **of_study}):
                uid = checked_uid(as_text(study, "StudyInstanceUID"), self._peer.name)
                wanted = dict.fromkeys(_SERIES_FIELDS, "") | of_series
                for answer in self._ask(association, "SERIES", {"StudyInstanceUID": uid} | wanted):
                    values = [as_text(answer, field) for field in _SERIES_FIELDS]
                    series.append(remote_series(self._peer.name, uid, *values))
                if most is not None and len(series) >= most:
                    break
        return series[:most]

    def objects(self, series: RemoteSeries) -> list[str]:
        """UIDs of the objects of a series."""
        uids = self._objects({**series.query, "SOPInstanceUID": ""})
        return sorted(checked_uid(uid, self._peer.name) for uid in uids)

    def fetch(self, series: RemoteSeries, uids: Sequence[str], keep: Keep) -> None:
        """Fetch objects; with C-MOVE the listener keeps them."""
        for start in range(0, len(uids), _AT_ONCE):
            some = list(uids[start : start + _AT_ONCE])
            question = _question("IMAGE", {**series.query, "SOPInstanceUID": some})
            if self._move:
                self._fetch_by_move(question)
            else:
                self._fetch_by_get(question, keep)

    def accepts(self, sop_class: str) -> bool | None:
        """Whether it accepts a presentation context for objects of a class."""
        try:
            with self._associated((sop_class, PLAIN_SYNTAXES)):
                return True
        except PeerError as error:
            if error.code != "CONTEXT":
                raise
        return False

    def holds(self, result: OutgoingObject) -> bool:
        """Whether the peer counts a result among its objects."""
        return result.sop_uid in self._objects(result.query)

    def send(self, result: OutgoingObject) -> None:
        """Send a result in a transfer syntax that the peer accepts, its own if possible."""
        syntaxes = dict.fromkeys((UID(result.syntax), *PLAIN_SYNTAXES))
        contexts = [(result.sop_class, (syntax,)) for syntax in syntaxes]
        with self._associated(*contexts) as association:
            accepted = {str(cx.transfer_syntax[0]) for cx in association.accepted_contexts}
            what: Any = result.path
            if result.syntax not in accepted:
                what = dcmread(result.path)
                if what.file_meta.TransferSyntaxUID.is_compressed:
                    what.decompress(generate_instance_uid=False)
            self._check(association, association.send_c_store(what))

    def _objects(self, query: Mapping[str, str]) -> set[str]:
        """What the peer gives as UIDs of objects."""
        with self._associated((_FIND, PLAIN_SYNTAXES)) as association:
            answers = self._ask(association, "IMAGE", query)
        return {as_text(answer, "SOPInstanceUID") for answer in answers}

    def _ask(self, association: Any, level: str, fields: Mapping[str, str]) -> list[Dataset]:
        """Answers to C-FIND."""
        answers: list[Dataset] = []
        for status, answer in association.send_c_find(_question(level, fields), _FIND):
            if not self._check(association, status):
                break
            if len(answers) >= _MOST_ANSWERS:
                what = f"gives more than {_MOST_ANSWERS} answers; ask for less"
                raise peer_error(self._peer.name, "ANSWER", what)
            if answer is not None:
                answers.append(answer)
        return answers

    def _fetch_by_get(self, question: Dataset, keep: Keep) -> None:
        """C-GET: the objects come over the association that asks for them."""
        kinds = (PLAIN_SYNTAXES, SYNTAXES[len(PLAIN_SYNTAXES) :])
        contexts = [(sop_class, kind) for sop_class in SCAN_CLASSES for kind in kinds]
        roles = [build_role(sop_class, scp_role=True) for sop_class in SCAN_CLASSES]
        handler = StoreHandler(self._spool, keep, timeout_s=self._timeout_s)
        contexts.append((_GET, PLAIN_SYNTAXES))
        associated = self._associated(*contexts, roles=roles, handlers=handler.handlers())
        with arriving(self._spool), associated as association:
            for status, _ in association.send_c_get(question, _GET):
                self._check(association, status)
        if handler.error is not None:
            raise handler.error

    def _fetch_by_move(self, question: Dataset) -> None:
        """C-MOVE: the peer calls the listener."""
        with self._associated((_MOVE, PLAIN_SYNTAXES)) as association:
            for status, _ in association.send_c_move(question, self._own.ae_title, _MOVE):
                self._check(association, status)

    def _check(self, association: Any, status: Any) -> bool:
        """Raise unless a status is good; whether more answers follow."""
        if "Status" not in status:
            alive = association.is_established and not association.is_aborted
            raise (timed_out if alive else broken)(self._peer.name)
        number = int(status.Status)
        if number in (0, *_PENDING, *_WARNINGS):
            return number in _PENDING
        if number == _MOVE_DESTINATION_UNKNOWN:
            what = (
                f"does not know {self._own.ae_title} as a place to send to; enter this machine's AE"
                " title, address and port there"
            )
            raise peer_error(self._peer.name, "REJECTED", what)
        code = "BUSY" if number >> 8 == 0xA7 else "ANSWER"
        what = f"refused the request (status {number:#06x}); see its log"
        raise peer_error(self._peer.name, code, what)

    @contextmanager
    def _associated(
        self,
        *contexts: tuple[str, Sequence[str]],
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator[Any]:
        """An association with some SOP classes and transfer syntaxes, released at the end."""
        peer, timeout_s = self._peer, self._timeout_s
        entity = AE(self._own.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_s
        entity.connection_timeout = timeout_s
        for sop_class, syntaxes in contexts:
            entity.add_requested_context(sop_class, list(syntaxes))
        opened, start = [], time.monotonic()

        def on_open(event: Any) -> None:
            opened.append(True)
            event.assoc.dul.socket.socket.settimeout(timeout_s)  # of each read

        try:
            association = entity.associate(
                peer.host,
                peer.port,
                ae_title=peer.ae_title,
                ext_neg=list(roles) or None,
                tls_args=self._tls(),
                evt_handlers=[*handlers, (evt.EVT_CONN_OPEN, on_open)],
            )
        except OSError as error:  # a host without an address
            raise self._unreachable() from error
        if not association.is_established:
            raise self._refusal(association) or self._failure(
                bool(opened), time.monotonic() - start
            )
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        tls = self._peer.tls
        if tls is None:
            return None
        try:
            return tls.context(ssl.Purpose.SERVER_AUTH), self._peer.host
        except OSError as error:
            raise PeerError(
                f"the TLS files of the peer '{self._peer.name}' cannot be used; check certificate,"
                " key and authorities in the settings",
                code="TLS",
            ) from error

    def _refusal(self, association: Any) -> PeerError | None:
        """For a peer that answered, and said no."""
        name = self._peer.name
        if association.is_rejected:
            answer = association.acceptor.primitive
            if answer.result == _REJECTED_FOR_NOW:
                what = "takes no more associations at present; try again later"
                return peer_error(name, "BUSY", what)
            why = _REJECTED.get(answer.diagnostic, "it gives no reason")
            why = why.format(title=self._peer.ae_title)
            what = f"rejected the association: {why}; check the AE titles here and there"
            return peer_error(name, "REJECTED", what)
        if association.rejected_contexts and not association.accepted_contexts:
            what = (
                "takes no objects or questions of this kind (no presentation context was"
                " accepted); check what it supports"
            )
            return peer_error(name, "CONTEXT", what)
        return None

    def _failure(self, opened: bool, waited_s: float) -> PeerError:
        """For a peer that did not answer: pynetdicom hides why, so it is called once more."""
        if opened and waited_s >= self._timeout_s:
            return timed_out(self._peer.name)
        if not opened:
            address, tls = (self._peer.host, self._peer.port), self._tls()
            try:
                with socket.create_connection(address, timeout=self._timeout_s) as plain:
                    if tls is not None:
                        tls[0].wrap_socket(plain, server_hostname=tls[1]).close()
            except ssl.SSLError as error:
                why = getattr(error, "verify_message", "") or "the two sides do not agree"
                return PeerError(
                    f"the TLS connection to the peer '{self._peer.name}' failed: {why}; check"
                    " certificates and authorities in the settings",
                    code="TLS",
                )
            except OSError:
                return self._unreachable()
        what = (
            "broke off the connection without a word; check that a DICOM service runs there, and"
            " whether it wants TLS"
        )
        return peer_error(self._peer.name, "RESET", what)

    def _unreachable(self) -> PeerError:
        return unreachable(self._peer.name, f" at {self._peer.host}:{self._peer.port}")


def _question(level: str, fields: Mapping[str, Any]) -> Dataset:
    """Identifier of a query (DICOM PS3.4 C.4.1)."""
    question = Dataset()
    question.QueryRetrieveLevel = level
    if not "".join(map(str, fields.values())).isascii():
        question.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in fields.items():
        setattr(question, keyword, value)
    return question
