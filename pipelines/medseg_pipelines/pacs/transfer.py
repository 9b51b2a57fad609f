"""Series from a peer into the spool, and results to a peer: tried again, and counted there."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.reading import Policies, read_labels, read_scan
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.headers import as_text
from medseg.writing import write_labels
from medseg_pipelines.pacs.client import Answer, PacsClient, call
from medseg_pipelines.pacs.errors import PeerError, RefusedError
from medseg_pipelines.pacs.objects import LABELMAP_SEG, OutgoingObject, RemoteSeries, outgoing
from medseg_pipelines.pacs.settings import Retry
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.validate import instance_name

Sent = Literal["delivered", "sent"]
_NO_SCANS = {"SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "PR", "KO", "DOC", "REG", "FID"}


@dataclass(kw_only=True)
class Pulled:
    """What became of a series that was asked for."""

    series: str
    objects: int  # that the peer has
    fetched: int = 0
    here_before: int = 0  # objects
    refused: int = 0  # are no images that may be kept
    code: str = ""  # why it is not whole; empty when it is
    message: str = ""


class Puller:
    """Fetches series from one peer; `pause` is that of `call`."""

    def __init__(
        self, client: PacsClient, spool: Spool, *, retry: Retry, pause: Callable[[float], None]
    ) -> None:
        self._client, self._spool, self._retry, self._pause = client, spool, retry, pause

    def find(self, query: Mapping[str, str], *, most: int | None = None) -> list[RemoteSeries]:
        """Series that match values by DICOM keyword, without those that are no scans."""
        series = self._call(lambda: self._client.find(query, most=most))
        return [remote for remote in series if remote.modality not in _NO_SCANS]

    def pull(self, remote: RemoteSeries) -> Pulled:
        """Fetch what is not here yet of a series; one that fails leaves what it got."""
        pulled = Pulled(series=remote.name, objects=remote.objects or 0)
        try:
            uids = self._call(lambda: self._client.objects(remote))
            missing = {instance_name(uid): uid for uid in uids}
            pulled.objects = max(pulled.objects, len(missing))
            self._drop_held(remote, missing)
            pulled.here_before = len(uids) - len(missing)
            self._call(lambda: self._fetch(remote, missing, pulled))
        except PeerError as error:
            pulled.code, pulled.message = error.code, str(error)
        if pulled.refused and not pulled.code:
            pulled.code = "REFUSED"
            pulled.message = f"{pulled.refused} objects are no images that may be kept"
        database, expected = self._spool.database, pulled.objects - pulled.refused
        for row in database.series(name=remote.name):
            database.update("series", {"expected": expected}, {"series": row.series})
            if row.state == "receiving" and not pulled.code:  # it waits for no silence
                database.set_state(row, "ready")
        return pulled

    def _fetch(self, remote: RemoteSeries, missing: dict[str, str], pulled: Pulled) -> None:
        """Fetch what is missing; raises `PeerError` unless all is here then."""
        wanted, before = set(missing), len(missing) + pulled.refused

        def keep(path: Path, uid: str) -> None:
            name = instance_name(uid)
            if name not in wanted:
                raise PeerError("the peer sends objects that nobody asked for", code="ANSWER")
            try:
                self._spool.add(path, announced=uid, series=remote.name)
            except RefusedError:
                pulled.refused += missing.pop(name, None) is not None

        try:
            if missing:
                self._client.fetch(remote, list(missing.values()), keep)
        finally:
            self._drop_held(remote, missing)
            pulled.fetched += before - len(missing) - pulled.refused
        here = pulled.here_before + pulled.fetched + pulled.refused
        if here < pulled.objects:
            raise PeerError(
                f"only {here} of {pulled.objects} objects of a series came; run the same command"
                " again",
                code="INCOMPLETE",
            )

    def _drop_held(self, remote: RemoteSeries, missing: dict[str, str]) -> None:
        """Remove from what is missing what is here, with the bytes it came with."""
        for name in [name for name in missing if self._spool.holds(remote.name, name)]:
            del missing[name]

    def _call(self, action: Callable[[], Answer]) -> Answer:
        return call(action, self._retry, pause=self._pause)


class Sender:
    """Takes results to one peer; without `answers` it cannot be asked what it has."""

    def __init__(
        self,
        client: PacsClient,
        spool: Spool,
        *,
        answers: bool = True,
        policies: Policies | None = None,
    ) -> None:
        self._client, self._spool, self._answers = client, spool, answers
        self._policies = policies or Policies()

    def deliver(self, path: Path, *, seg: Path | None = None) -> tuple[Sent, str]:
        """Bring a result to the peer, unless it is there; ``"binary"`` when it was written as that.

        `seg` is the DICOM SEG that a measurement report refers to, and comes before it: where the
        peer takes no label maps, the report of the binary SEG is sent.
        """
        result = outgoing(path)
        source = outgoing(seg) if seg is not None else result
        if source.sop_class != LABELMAP_SEG:
            return self._bring(result), ""
        accepts = self._client.accepts(LABELMAP_SEG)
        if accepts is None and result is not source and self._answers:
            accepts = self._client.holds(source)  # else it got a binary SEG in place of ours
        if accepts is not False:
            try:
                return self._bring(result), ""
            except PeerError as error:
                if error.code != "CONTEXT":
                    raise
        target = self._spool.scratch().with_suffix(".dcm" if result is source else ".sr.dcm")
        try:
            binary = to_binary(source, target, spool=self._spool, policies=self._policies)
            return self._bring(binary), "binary"
        finally:
            target.unlink(missing_ok=True)

    def _bring(self, result: OutgoingObject) -> Sent:
        if self._answers and self._client.holds(result):
            return "delivered"
        self._client.send(result)
        if not self._answers:
            return "sent"
        if not self._client.holds(result):
            raise PeerError(
                f"the peer took {result.kind}, but does not show it among its objects; trying"
                " again is harmless",
                code="NOT_KEPT",
            )
        return "delivered"


def to_binary(
    seg: OutgoingObject, target: Path, *, spool: Spool, policies: Policies
) -> OutgoingObject:
    """Write the labels of a label-map DICOM SEG as a binary one, or as that one's SR (by `target`).

    The slices that it refers to are in the spool, and were read by `policies`.
    """
    with warnings.catch_warnings(), _referenced_slices(seg, spool) as folder:
        warnings.simplefilter("ignore")  # the libraries' warnings quote patient names
        labels = read_labels(seg.path, like=read_scan(folder, policies=policies))
        return outgoing(write_labels(labels, target, encoding="binary"))


@contextmanager
def _referenced_slices(seg: OutgoingObject, spool: Spool) -> Iterator[Path]:
    """A folder with exactly the slices that a SEG refers to."""
    (series, *_) = dataset_of(seg.path, stop_before_pixels=True).ReferencedSeriesSequence
    folder = spool.scratch()
    folder.mkdir()
    try:
        for item in series.ReferencedInstanceSequence:
            name = f"{instance_name(as_text(item, 'ReferencedSOPInstanceUID'))}.dcm"
            os.link(spool.folder(seg.source) / name, folder / name)
        yield folder
    except FileNotFoundError as error:
        raise PeerError(
            "the peer takes no label-map DICOM SEG, and the scan is not in the spool to write a"
            " binary one; pull the scan first, or segment again with --encoding binary",
            code="CONTEXT",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
