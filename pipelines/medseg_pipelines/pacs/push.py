"""Results to a peer: sent once, in an encoding it takes, and counted there before all is well."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medseg.reading import Policies
from medseg_pipelines.pacs.client import PacsClient
from medseg_pipelines.pacs.encodings import in_binary
from medseg_pipelines.pacs.offers import LABELMAP_SEG, OutgoingObject, sendable
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.spool import Spool

Sent = Literal["delivered", "sent"]
_REPORT = ".sr.dcm"


class Sender:
    """Takes results to one peer.

    Parameters
    ----------
    line : PacsClient
    spool : Spool
        With the scans, from which results may be written in another encoding.
    answers : bool
        Whether the peer can be asked what it has.
    policies : Policies
        By which scans are read.
    """

    def __init__(
        self,
        line: PacsClient,
        spool: Spool,
        *,
        answers: bool = True,
        policies: Policies | None = None,
    ) -> None:
        self._line, self._spool, self._answers = line, spool, answers
        self._policies = policies or Policies()

    def deliver(self, path: Path, *, seg: Path | None = None) -> tuple[Sent, str]:
        """Bring a result to the peer, unless it is there already.

        Parameters
        ----------
        path : Path
            A DICOM SEG, SR or RT Structure Set.
        seg : Path, optional
            The DICOM SEG that a measurement report refers to, which comes before it: where the
            peer takes no label maps, the report of the binary SEG is sent.

        Returns
        -------
        tuple
            ``"delivered"`` when the peer counts it among its objects, ``"sent"`` when it cannot
            be asked; and ``"binary"`` when it was written in this encoding, else empty.

        Raises
        ------
        PeerError
            When it is not there afterwards.
        InputError
            When it is no such file.
        """
        result, labels = sendable(path), sendable(seg) if seg is not None else None
        source = labels or result
        if source.sop_class == LABELMAP_SEG:
            return self._label_map(result, source)
        return self._bring(result), ""

    def _label_map(self, result: OutgoingObject, source: OutgoingObject) -> tuple[Sent, str]:
        """Bring a label map, or what refers to one; in the other encoding if need be."""
        takes = self._line.takes(LABELMAP_SEG)
        if takes or (takes is None and not self._is_there_in_binary(result, source)):
            try:
                return self._bring(result), ""
            except PeerError as error:
                if error.code != "CONTEXT":
                    raise
        return self._binary(result, source), "binary"

    def _is_there_in_binary(self, result: OutgoingObject, source: OutgoingObject) -> bool:
        """Whether a report has to refer to a binary SEG, which the peer got in place of ours."""
        return result is not source and self._answers and not self._line.holds(source)

    def _binary(self, result: OutgoingObject, source: OutgoingObject) -> Sent:
        ending = _REPORT if result is not source else ".dcm"
        target = self._spool.scratch().with_suffix(ending)
        try:
            other = in_binary(source, target, spool=self._spool, policies=self._policies)
            return self._bring(other)
        finally:
            target.unlink(missing_ok=True)

    def _bring(self, result: OutgoingObject) -> Sent:
        if self._answers and self._line.holds(result):
            return "delivered"
        self._line.send(result)
        if not self._answers:
            return "sent"
        if not self._line.holds(result):
            raise PeerError(
                f"the peer took {result.kind}, but does not show it among its objects; trying"
                " again is harmless",
                code="NOT_KEPT",
            )
        return "delivered"
