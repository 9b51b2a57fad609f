"""Series of the spool through the batch: models chosen by rules, workers that stay for the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import msgspec

from medseg.errors import InputError
from medseg.model_package import find_package
from medseg_pipelines.batch.archive.rules import Rule, Rules, RuleText, read_rules
from medseg_pipelines.batch.events import NullEvents
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row
from medseg_pipelines.batch.messages import Settings, Task
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.batch.workers.local_pool import LocalPool
from medseg_pipelines.batch.workers.protocol import Report, Step, WorkerDied, WorkerPool
from medseg_pipelines.pacs.client import connected
from medseg_pipelines.pacs.offers import LABELMAP_SEG
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.service import Ended
from medseg_pipelines.pacs.service_log import Log
from medseg_pipelines.pacs.settings import Encoding, PacsSettings, Work
from medseg_pipelines.pacs.spool import Spool

_ASK_EVERY_S = 600.0
_ORDER = ("done", "failed", "leased", "waiting", "refused")


class Segmenter:
    """Makes results of series; its workers keep the model loaded from one to the next.

    Parameters
    ----------
    settings : PacsSettings
    spool : Spool
    log : Log
        Told what a person should know.
    check : callable
        Raises `medseg.errors.Cancelled` when the work is to stop.

    Raises
    ------
    InputError
        When the settings name no model, or the rules do not fit.
    PackageError
        When a model cannot be used.
    """

    def __init__(
        self, settings: PacsSettings, spool: Spool, log: Log, *, check: Callable[[], None]
    ) -> None:
        self._settings, self._spool, self._log, self._check = settings, spool, log, check
        self._rules = _rules_of(settings.work)
        for model in self._rules.models:
            find_package(model)
        self._crew = _LastingCrew()
        self._encoding: Encoding = settings.work.encoding
        self._asked = -_ASK_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.end()

    def __call__(self, series: str) -> Sequence[Ended]:
        """Segment the scans of a series; one entry for each."""
        output = self._spool.results(series)
        _try_again(output)
        options = BatchOptions(
            settings=self._what(),
            device=self._settings.work.device,
            pool=lambda: self._crew,
            min_slices=self._settings.work.min_slices,
        )
        events = _Telling(series, self._log, self._check)
        try:
            for model in self._rules.models:
                chosen = replace(options, rules=self._rules.only(model))
                run_batch(
                    self._spool.folder(series),
                    model=model,
                    output=output,
                    options=chosen,
                    events=events,
                )
        except InputError as error:
            if error.code != "NO_SCANS":
                raise
            return [Ended(state="refused", code=error.code, message="it holds no scan")]
        with Ledger.of(output) as ledger:
            return _ended(ledger.rows(), Places(output))

    def _what(self) -> Settings:
        """What results are asked for."""
        work = self._settings.work
        formats = {"dicom-seg", *work.send} if "sr" in work.send else {*work.send}
        return Settings(
            formats=tuple(sorted(formats)),
            encoding=self._best_encoding(),
            irregular=work.irregular,
            missing=work.missing,
        )

    def _best_encoding(self) -> Encoding:
        """The encoding of the settings, or binary where the destination takes no label maps."""
        work = self._settings.work
        if work.encoding == "binary" or not work.destination:
            return work.encoding
        if time.monotonic() - self._asked < _ASK_EVERY_S:
            return self._encoding
        self._asked = time.monotonic()
        peer = self._settings.peer(work.destination)
        try:
            with connected(peer, self._settings, self._spool, via=work.via) as line:
                takes = line.takes(LABELMAP_SEG)
        except PeerError:
            return self._encoding  # it is asked once more when the results are sent
        self._encoding = "binary" if takes is False else work.encoding
        return self._encoding


class _Telling(NullEvents):
    """What a run has to say, in the log of the service."""

    def __init__(self, series: str, log: Log, check: Callable[[], None]) -> None:
        self._series, self._log, self._check = series, log, check

    def on_message(self, message: str) -> None:
        self._log.say(f"series {self._series[:8]}: {message}")

    def check(self) -> None:
        self._check()


class _LastingCrew:
    """Workers that outlive a run, unless it left something in their hands."""

    def __init__(self) -> None:
        self._crew: WorkerPool | None = None
        self._hands: set[str] = set()

    @property
    def capacity(self) -> int:
        """How many tasks they take at once."""
        return self._working().capacity

    def submit(self, task: Task) -> None:
        """Take a task in hand."""
        self._hands.add(task.case)
        self._working().submit(task)

    def events(self, timeout_s: float) -> Sequence[Report]:
        """What happened."""
        reports = self._working().events(timeout_s)
        for report in reports:
            if not isinstance(report, Step):
                self._hands -= {
                    *(report.cases if isinstance(report, WorkerDied) else [report.case])
                }
        return reports

    def close(self) -> None:
        """The run is over; workers with nothing in hand wait for the next one."""
        if self._hands:
            self.end()

    def end(self) -> None:
        """End the workers."""
        self._hands.clear()
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def _working(self) -> WorkerPool:
        if self._crew is None:
            self._crew = LocalPool()
        return self._crew


def _rules_of(work: Work) -> Rules:
    """The rules of the settings, each with a model."""
    everything = (Rule.of(RuleText(model=work.model)),)
    rules = read_rules(Path(work.rules)) if work.rules else everything
    named = [
        replace(rule, text=msgspec.structs.replace(rule.text, model=rule.text.model or work.model))
        for rule in rules
    ]
    if not all(rule.text.model for rule in named):
        raise InputError("the settings name no model; add model = or rules = under [work]")
    return Rules(rules=tuple(named))


def _try_again(output: Path) -> None:
    """Let what failed before be tried again: the service counts attempts by itself."""
    if Places(output).ledger.is_file():
        with Ledger.of(output) as ledger:
            ledger.retry()


def _ended(rows: Iterable[Row], places: Places) -> list[Ended]:
    """What became of each scan, by whichever model."""
    by_scan: dict[str, list[Row]] = {}
    for row in rows:
        by_scan.setdefault(row.lineage, []).append(row)
    best = [min(scan, key=lambda row: _ORDER.index(row.state)) for scan in by_scan.values()]
    return [_one_ended(row, places) for row in best]


def _one_ended(row: Row, places: Places) -> Ended:
    if row.state == "done":
        return Ended(state="done", folder=places.final(row.folder))
    state: Literal["refused", "failed"] = "refused" if row.state == "refused" else "failed"
    return Ended(state=state, code=row.code, message=row.message)
