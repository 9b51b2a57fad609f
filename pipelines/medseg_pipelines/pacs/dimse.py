"""DIMSE: C-ECHO, C-FIND to ask, C-GET or C-MOVE to fetch, C-STORE to send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from pydicom import Dataset, dcmread
from pynetdicom import _config, build_role
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from medseg.reading.dicom.headers import as_text
from medseg_pipelines.pacs.association import Context, associated, lost
from medseg_pipelines.pacs.offers import OutgoingObject, RemoteSeries, checked_uid
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.settings import Own, Peer
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.store_handler import Reception, arriving
from medseg_pipelines.pacs.validate import SCAN_CLASSES, SYNTAXES, Keep

_config.STORE_SEND_CHUNKED_DATASET = True

_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")  # explicit, implicit VR little endian
_SERIES_KEYS = {
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "BodyPartExamined",
    "ProtocolName",
    "SeriesDate",
    "SeriesTime",
    "PerformedStationAETitle",
}
_AT_ONCE = 64  # objects that are asked for by one request
_MOST_ANSWERS = 200_000
_PENDING = (0xFF00, 0xFF01)
_MOVE_DESTINATION_UNKNOWN = 0xA801
_WARNINGS = (0xB000, 0xB006, 0xB007)


class Dimse:
    """A DIMSE peer; each method makes an association of its own.

    Parameters
    ----------
    peer : Peer
        With AE title, host and port.
    own : Own
    spool : Spool
        Where things are put while they are not whole, and its limits.
    timeout_s : float
        Seconds that the peer may be silent.
    method : {"c-get", "c-move"}
        How objects are fetched; C-MOVE needs a listener that the peer knows.
    """

    def __init__(
        self,
        peer: Peer,
        own: Own,
        *,
        spool: Spool,
        timeout_s: float,
        method: Literal["c-get", "c-move"] = "c-get",
    ) -> None:
        self._peer, self._own, self._spool = peer, own, spool
        self._timeout_s, self._method = timeout_s, method

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between requests."""

    def echo(self) -> str:
        """C-ECHO; what the service is called."""
        with self._associated([(Verification, _PLAIN)]) as association:
            self._check(association, association.send_c_echo())
        return "DIMSE"

    def find(self, query: Mapping[str, str], *, most: int | None = None) -> list[RemoteSeries]:
        """Series that fit a query, by study first as the standard asks.

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
        of_series = {key: value for key, value in query.items() if key in _SERIES_KEYS}
        of_study = {key: value for key, value in query.items() if key not in _SERIES_KEYS}
        found: list[RemoteSeries] = []
        with self._associated([(StudyRootQueryRetrieveInformationModelFind, _PLAIN)]) as line:
            wanted = _question("STUDY", {"StudyInstanceUID": "", **of_study})
            for study in list(self._answers(line, wanted)):
                uid = checked_uid(as_text(study, "StudyInstanceUID"), self._peer.name)
                found += self._series_of(line, uid, of_series)
                if most is not None and len(found) >= most:
                    break
        return found[:most]

    def objects(self, offered: RemoteSeries) -> list[str]:
        """UIDs of the objects of a series."""
        question = _question("IMAGE", {**_which(offered), "SOPInstanceUID": ""})
        with self._associated([(StudyRootQueryRetrieveInformationModelFind, _PLAIN)]) as line:
            found = [as_text(answer, "SOPInstanceUID") for answer in self._answers(line, question)]
        return sorted({checked_uid(uid, self._peer.name) for uid in found})

    def fetch(self, offered: RemoteSeries, uids: Sequence[str], keep: Keep) -> None:
        """Fetch objects; with C-MOVE the listener keeps them.

        Parameters
        ----------
        offered : RemoteSeries
        uids : sequence of str
        keep : callable
            Called with each file in the spool's ``incoming``, and its UID.

        Raises
        ------
        PeerError
            When the peer does not send them.
        """
        for start in range(0, len(uids), _AT_ONCE):
            some = list(uids[start : start + _AT_ONCE])
            question = _question("IMAGE", {**_which(offered), "SOPInstanceUID": some})
            if self._method == "c-move":
                self._move(question)
            else:
                self._get(question, keep)

    def takes(self, sop_class: str) -> bool | None:
        """Whether it accepts a presentation context for objects of a class."""
        try:
            with self._associated([(sop_class, _PLAIN)]):
                return True
        except PeerError as error:
            if error.code != "CONTEXT":
                raise
        return False

    def holds(self, result: OutgoingObject) -> bool:
        """Whether the peer counts a result among its objects."""
        question = _question(
            "IMAGE",
            {
                "StudyInstanceUID": result.study_uid,
                "SeriesInstanceUID": result.series_uid,
                "SOPInstanceUID": result.sop_uid,
            },
        )
        with self._associated([(StudyRootQueryRetrieveInformationModelFind, _PLAIN)]) as line:
            found = [as_text(answer, "SOPInstanceUID") for answer in self._answers(line, question)]
        return result.sop_uid in found

    def send(self, result: OutgoingObject) -> None:
        """Send a result in a transfer syntax that the peer accepts, its own if possible.

        Raises
        ------
        PeerError
            When the peer does not take it; code ``CONTEXT`` when it does not take such objects,
            before anything was sent.
        """
        syntaxes = dict.fromkeys((result.syntax, *_PLAIN))
        contexts = [(result.sop_class, (syntax,)) for syntax in syntaxes]
        with self._associated(contexts) as association:
            accepted = {str(cx.transfer_syntax[0]) for cx in association.accepted_contexts}
            own = result.syntax in accepted
            what = result.path if own else _plain(result.path)
            self._check(association, association.send_c_store(what))

    @contextmanager
    def _associated(self, contexts: Sequence[Context], **options: Any) -> Iterator[Any]:
        with associated(
            self._peer, self._own, contexts, timeout_s=self._timeout_s, **options
        ) as association:
            yield association

    def _series_of(self, line: Any, study: str, query: Mapping[str, str]) -> list[RemoteSeries]:
        """Series of one study."""
        wanted = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": "",
            "Modality": "",
            "NumberOfSeriesRelatedInstances": "",
            **query,
        }
        found = []
        for answer in self._answers(line, _question("SERIES", wanted)):
            count = as_text(answer, "NumberOfSeriesRelatedInstances")
            series = checked_uid(as_text(answer, "SeriesInstanceUID"), self._peer.name)
            found.append(
                RemoteSeries(
                    study_uid=study,
                    series_uid=series,
                    modality=as_text(answer, "Modality"),
                    objects=int(count) if count.isdecimal() else None,
                )
            )
        return found

    def _answers(self, line: Any, question: Dataset) -> Iterator[Dataset]:
        """Answers to C-FIND."""
        replies = line.send_c_find(question, StudyRootQueryRetrieveInformationModelFind)
        for number, (status, answer) in enumerate(replies):
            if not self._check(line, status):
                return
            if number >= _MOST_ANSWERS:
                raise PeerError(
                    f"the peer '{self._peer.name}' gives more than {_MOST_ANSWERS} answers; ask"
                    " for less",
                    code="ANSWER",
                )
            if answer is not None:
                yield answer

    def _get(self, question: Dataset, keep: Keep) -> None:
        """C-GET: the objects come over the association that asks for them."""
        refused: list[Exception] = []
        model = StudyRootQueryRetrieveInformationModelGet
        kinds = (_PLAIN, tuple(one for one in SYNTAXES if one not in _PLAIN))
        contexts = [(model, _PLAIN), *((one, kind) for one in SCAN_CLASSES for kind in kinds)]
        roles = [build_role(one, scp_role=True) for one in SCAN_CLASSES]
        reception = Reception(self._spool, _noting(keep, refused), timeout_s=self._timeout_s)
        with (
            arriving(self._spool),
            self._associated(contexts, roles=roles, handlers=reception.handlers()) as line,
        ):
            for status, _ in line.send_c_get(question, model):
                self._check(line, status)
        for error in refused[:1]:
            raise error

    def _move(self, question: Dataset) -> None:
        """C-MOVE: the peer calls the listener."""
        model = StudyRootQueryRetrieveInformationModelMove
        with self._associated([(model, _PLAIN)]) as line:
            for status, _ in line.send_c_move(question, self._own.ae_title, model):
                self._check(line, status)

    def _check(self, association: Any, status: Any) -> bool:
        """Raise unless a status is good; whether more answers follow."""
        if "Status" not in status:
            raise lost(association, self._peer)
        number = int(status.Status)
        if number in (0, *_PENDING, *_WARNINGS):
            return number in _PENDING
        if number == _MOVE_DESTINATION_UNKNOWN:
            raise PeerError(
                f"the peer '{self._peer.name}' does not know {self._own.ae_title} as a place to"
                " send to; enter this machine's AE title, address and port there",
                code="REJECTED",
            )
        raise PeerError(
            f"the peer '{self._peer.name}' refused the request (status {number:#06x}); see its log",
            code="BUSY" if number >> 8 == 0xA7 else "ANSWER",
        )


def _noting(keep: Keep, refused: list[Exception]) -> Keep:
    """`keep`, with a note of what it raises, which the association would swallow."""

    def noting(path: Path, uid: str) -> object:
        try:
            return keep(path, uid)
        except Exception as error:
            refused.append(error)
            raise

    return noting


def _which(offered: RemoteSeries) -> dict[str, str]:
    return {"StudyInstanceUID": offered.study_uid, "SeriesInstanceUID": offered.series_uid}


def _question(level: str, fields: Mapping[str, Any]) -> Dataset:
    """Identifier of a query (DICOM PS3.4 C.4.1)."""
    question = Dataset()
    question.QueryRetrieveLevel = level
    if not "".join(map(str, fields.values())).isascii():
        question.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in fields.items():
        setattr(question, keyword, value)
    return question


def _plain(path: Path) -> Dataset:
    """A result without compression."""
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress(generate_instance_uid=False)
    return dataset
