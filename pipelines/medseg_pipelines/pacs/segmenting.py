"""Series of the spool through the batch: models chosen by rules, workers that stay for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import msgspec

from medseg.errors import InputError
from medseg.model_package import find_package
from medseg_pipelines.batch.archive.rules import Rule, Rules, RuleText, read_rules
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from medseg_pipelines.batch.workers.local_pool import LocalPool
from medseg_pipelines.pacs.settings import PacsSettings, Work
from medseg_pipelines.pacs.spool import Spool

_ORDER = ("done", "failed", "leased", "waiting", "refused")


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """What became of one scan of a series."""

    state: Literal["done", "refused", "failed"]
    folder: Path | None = None
    code: str = ""  # why there is none
    message: str = ""


class Segmenter:
    """Makes results of series; its workers keep the model loaded from one to the next.

    `check` raises `Cancelled` when the work is to stop. Models that cannot be used raise at once.
    """

    def __init__(
        self,
        settings: PacsSettings,
        spool: Spool,
        log: Callable[[str], None],
        *,
        check: Callable[[], None],
    ) -> None:
        self._work, self._spool, self._log, self._check = settings.work, spool, log, check
        self._rules = _rules(settings.work)
        for model in self._rules.models:
            find_package(model)
        self._workers = LastingWorkers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.end()

    def __call__(self, series: str) -> Sequence[Segmented]:
        """Segment the scans of a series; one entry for each."""
        output, work = self._spool.results(series), self._work
        if Places(output).ledger.is_file():
            with Ledger.of(output) as ledger:
                ledger.retry()  # the service counts attempts by itself
        needed = {"dicom-seg"} if "sr" in work.send else set()  # which the report refers to
        options = BatchOptions(
            settings=Settings(
                formats=tuple(sorted({*work.send, *needed})),
                encoding=work.encoding,
                irregular=work.irregular,
                missing=work.missing,
            ),
            device=work.device,
            pool=lambda: self._workers,
            min_slices=work.min_slices,
            anonymous_names=True,
        )

        events = _SeriesEvents(lambda text: self._log(f"series {series[:8]}: {text}"), self._check)
        try:
            for model in self._rules.models:
                run_batch(
                    self._spool.folder(series),
                    model=model,
                    output=output,
                    options=replace(options, rules=self._rules.only(model)),
                    events=events,
                )
        except InputError as error:
            if error.code != "NO_SCANS":
                raise
            return [Segmented(state="refused", code=error.code, message="it holds no scan")]
        scans: dict[str, list[Row]] = {}  # each by whichever model
        with Ledger.of(output) as ledger:
            for row in ledger.rows():
                scans.setdefault(row.lineage, []).append(row)
        best = [min(rows, key=lambda row: _ORDER.index(row.state)) for rows in scans.values()]
        return [_segmented(row, Places(output)) for row in best]


class _SeriesEvents(Events):
    """What a batch says of a series goes to the log; it ends when the service does."""

    def __init__(self, log: Callable[[str], None], check: Callable[[], None]) -> None:
        self._log, self._check = log, check

    def on_message(self, message: str) -> None:
        """A sentence for the log."""
        self._log(message)

    def check(self) -> None:
        """Raise `Cancelled` when the service is to stop."""
        self._check()


def _segmented(row: Row, places: Places) -> Segmented:
    if row.state == "done":
        return Segmented(state="done", folder=places.final(row.folder))
    state: Literal["refused", "failed"] = "refused" if row.state == "refused" else "failed"
    return Segmented(state=state, code=row.code, message=row.message)


class LastingWorkers(LocalPool):
    """A worker pool that outlives a run, unless that left something in flight."""

    def close(self) -> None:
        """The run is over; workers with nothing in flight wait for the next one."""
        if self.is_busy:
            self.end()

    def end(self) -> None:
        """End the workers; they start again when there is something to do."""
        super().close()


def _rules(work: Work) -> Rules:
    """The rules of the settings, each with a model."""
    rules = read_rules(Path(work.rules)) if work.rules else (Rule.of(RuleText()),)
    named = [
        replace(rule, text=msgspec.structs.replace(rule.text, model=rule.text.model or work.model))
        for rule in rules
    ]
    if not all(rule.text.model for rule in named):
        raise InputError("the settings name no model; add model = or rules = under [work]")
    return Rules(rules=tuple(named))
