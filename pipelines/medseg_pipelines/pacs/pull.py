"""Series from a peer into the spool: asked for, fetched object by object, counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg_pipelines.pacs.client import PacsClient
from medseg_pipelines.pacs.offers import RemoteSeries
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.retry import call
from medseg_pipelines.pacs.settings import Retry
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.validate import RefusedError, instance_name

_NO_SCANS = {"SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "PR", "KO", "DOC", "REG", "FID"}


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What became of a series that was asked for.

    Parameters
    ----------
    series : str
    objects : int
        How many the peer has.
    fetched, kept : int
        How many came now, and were here before.
    refused : int
        How many are no images that may be kept.
    code, message : str
        Why it is not whole; empty when it is.
    """

    series: str
    objects: int
    fetched: int = 0
    kept: int = 0
    refused: int = 0
    code: str = ""
    message: str = ""


class Puller:
    """Fetches series from one peer.

    Parameters
    ----------
    line : PacsClient
    spool : Spool
    retry : Retry
        How often something is tried.
    pause : callable
        Waits for so many seconds; may raise `medseg.errors.Cancelled`.
    """

    def __init__(
        self, line: PacsClient, spool: Spool, *, retry: Retry, pause: Callable[[float], None]
    ) -> None:
        self._line, self._spool, self._retry, self._pause = line, spool, retry, pause

    def find(self, query: Mapping[str, str], *, most: int | None = None) -> list[RemoteSeries]:
        """Series that fit a query, without those that are no scans.

        Parameters
        ----------
        query : mapping of str to str
            Values to match, by DICOM keyword.
        most : int, optional
        """
        found = call(lambda: self._line.find(query, most=most), self._retry, pause=self._pause)
        return [one for one in found if one.modality not in _NO_SCANS]

    def pull(self, offered: RemoteSeries) -> Pulled:
        """Fetch what is not here yet of a series; one that fails leaves what it got.

        Raises
        ------
        NoRoomError
            When a limit is reached: nothing more can be fetched.
        """
        task = _Task(self._line, self._spool, offered)
        code = message = ""
        try:
            uids = call(lambda: self._line.objects(offered), self._retry, pause=self._pause)
            task.begin(uids)
            call(task.go_on, self._retry, pause=self._pause)
        except PeerError as error:
            code, message = error.code, str(error)
        if task.refused and not code:
            code = "REFUSED"
            message = f"{len(task.refused)} objects are no images that may be kept"
        self._note(offered, task, whole=not code)
        return task.result(code, message)

    def _note(self, offered: RemoteSeries, task: _Task, *, whole: bool) -> None:
        """Tell the register; a series that is whole waits for no silence."""
        register = self._spool.register
        for row in register.series(name=offered.name):
            register.expect(row.series, task.count - len(task.refused))
            if whole and row.state == "receiving":
                register.settle(row, "ready")


class _Task:
    """One series that is being fetched."""

    def __init__(self, line: PacsClient, spool: Spool, offered: RemoteSeries) -> None:
        self._line, self._spool, self._offered = line, spool, offered
        self._names: dict[str, str] = {}
        self._here: set[str] = set()
        self._before = 0
        self.count = offered.objects or 0
        self.refused: set[str] = set()

    def begin(self, uids: list[str]) -> None:
        """Note what there is, and what of it is here."""
        self._names = {instance_name(uid): uid for uid in uids}
        self.count = max(self.count, len(uids))
        self._before = len(uids) - len(self._missing())

    def go_on(self) -> None:
        """Fetch what is missing; raises `PeerError` unless all is here then."""
        missing = self._missing()
        if missing:
            self._line.fetch(self._offered, missing, self._keep)
        here = len(self._names) - len(self._missing())
        if here < self.count:
            raise PeerError(
                f"only {here} of {self.count} objects of a series came; run the same command again",
                code="INCOMPLETE",
            )

    def result(self, code: str, message: str) -> Pulled:
        """What became of it."""
        here = len(self._names) - len(self._missing()) - len(self.refused)
        return Pulled(
            series=self._offered.name,
            objects=self.count,
            fetched=here - self._before,
            kept=self._before,
            refused=len(self.refused),
            code=code,
            message=message,
        )

    def _missing(self) -> list[str]:
        """UIDs of what is not here; the bytes of what is are looked at once."""
        series = self._offered.name
        unseen = self._names.keys() - self.refused - self._here
        self._here |= {name for name in unseen if self._spool.holds(series, name)}
        return [uid for name, uid in self._names.items() if name in unseen - self._here]

    def _keep(self, path: Path, uid: str) -> None:
        """Keep a file, unless it is another than was asked for."""
        name = instance_name(uid)
        if name not in self._names:
            raise PeerError("the peer sends objects that nobody asked for", code="ANSWER")
        try:
            self._spool.take(path, announced=uid, series=self._offered.name)
        except RefusedError:
            self.refused.add(name)
