"""What stands in for parts of a batch: workers in the test's own process, results made up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batch_rows import found
from medseg.errors import Cancelled
from medseg.workflows.record import ModelUsed
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger.commit import Committer, Leases
from medseg_pipelines.batch.ledger.enqueue import Queue
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row, RunConfig
from medseg_pipelines.batch.ledger.provenance import (
    CaseRecord,
    Source,
    file_digests,
    write_record,
)
from medseg_pipelines.batch.messages import Fault, Result

RUN_CONFIG = RunConfig("m" * 64, "s" * 64)


class InlinePool:
    """Does each task when asked what happened, in this process."""

    capacity = 2

    def __init__(self, before=lambda task: None):
        self.tasks, self.done, self._before = deque(), [], before

    def submit(self, task):
        self.tasks.append(task)

    def events(self, timeout_s):
        from medseg_pipelines.batch.workers.case import work

        task = self.tasks.popleft()
        self._before(task)
        steps = []
        result = work(task, steps.append)
        self.done.append(task)
        return [*steps, result]

    def close(self):
        self.tasks.clear()


class Diary(Events):
    """Remembers what it was told."""

    def __init__(self):
        self.plan, self.rows, self.messages, self.started, self.tally = None, [], [], [], None

    def planned(self, plan):
        self.plan = plan

    def case_started(self, case, found):
        self.started.append(case)

    def case_ended(self, row):
        self.rows.append(row)

    def on_message(self, message):
        self.messages.append(message)

    def finished(self, tally):
        self.tally = tally


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file for people, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".medseg" not in path.parts
    }


class Stopping(Diary):
    """Asks to stop after some cases have ended."""

    def __init__(self, after=0):
        super().__init__()
        self._after = after

    def check(self):
        if self.plan is not None and len(self.rows) >= self._after:
            raise Cancelled("as asked")


@dataclass
class World:
    """An output whose cases are settled by hand."""

    places: Places

    @classmethod
    def at(cls, folder: Path) -> World:
        places = Places(folder)
        places.staging.mkdir(parents=True)
        return cls(places)

    def ledger(self) -> Ledger:
        return Ledger(self.places.ledger)

    def committer(self, ledger: Ledger, attempts: int = 3) -> Committer:
        return Committer(ledger, self.places, attempts)

    def queue(self, ledger, *, run_config=RUN_CONFIG, min_slices=4, anew=False) -> Queue:
        return Queue(
            ledger=ledger,
            run_config=run_config,
            min_slices=min_slices,
            anew=anew,
            in_place=self.places.has_results,
        )

    def stage(self, row, *, content="c1", text=b"labels") -> Result:
        """Make up the results of a leased case, as a worker leaves them."""
        folder = self.places.staged(row.token)
        folder.mkdir(exist_ok=True)
        (folder / "labels.nii.gz").write_bytes(text)
        source = Source(
            format="nifti",
            modality="CT",
            shape=(1, 1, 1),
            spacing_mm=(1.0, 1.0, 1.0),
            files=1,
            content=content,
            pixels="p",
        )
        used = ModelUsed(name="tiny", version="1", digest=row.model, weights="w")
        record = CaseRecord(
            case=row.case,
            token=row.token,
            key=row.key,
            lineage=row.lineage,
            folder=row.folder,
            source=source,
            model=used,
            device="cpu",
            ended="now",
            seconds={"read": 1.0},
            volumes_ml={"liver": 2.0},
            warnings=("odd",),
            files=file_digests(folder),
        )
        write_record(folder, record)
        return Result(
            case=row.case,
            token=row.token,
            state="done",
            content=content,
            volumes_ml=record.volumes_ml,
            warnings=record.warnings,
            seconds=record.seconds,
        )


def rows(output: Path) -> list[Row]:
    """The cases of an output."""
    with Ledger.of(output) as ledger:
        return ledger.rows()


def without_times(files: dict[str, bytes]) -> dict[str, object]:
    """Results without what differs between two runs: tokens and times."""
    plain: dict[str, object] = dict(files)
    for name, content in files.items():
        if name.endswith("case.json"):
            record = msgspec.json.decode(content)
            for times in ("token", "ended", "seconds"):
                del record[times]
            plain[name] = record
    return plain


class Clock:
    """Seconds that grow when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def leases(ledger: Ledger, *, run_config: RunConfig = RUN_CONFIG, shard=(1, 1)) -> Leases:
    return Leases(ledger, run_config, shard)


def refusal(row, code: str = "MISSING_SLICE") -> Result:
    fault = Fault(code=code, message="a slice is missing")
    return Result(case=row.case, token=row.token, state="refused", fault=fault)


def failure(row, code: str = "BROKEN") -> Result:
    fault = Fault(code=code, message="it broke")
    return Result(case=row.case, token=row.token, state="failed", fault=fault)


def changed(scan, **more):
    return msgspec.structs.replace(scan, **more)


def table(ledger: Ledger) -> list[tuple]:
    """Everything that the ledger says of cases."""
    with ledger.reading() as db:
        return [tuple(one) for one in db.execute("SELECT * FROM cases ORDER BY rowid")]


__all__ = [
    "RUN_CONFIG",
    "Clock",
    "Diary",
    "InlinePool",
    "Stopping",
    "World",
    "changed",
    "failure",
    "files_below",
    "found",
    "leases",
    "refusal",
    "rows",
    "table",
    "without_times",
]
