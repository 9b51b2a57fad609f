"""The loop of a run: take cases, have them worked on, write down what became of them."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import MedsegError, WriteError
from medseg.model_package import ModelPackage
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.commit import Committer
from medseg_pipelines.batch.ledger.disk_full import Answer, WaitForSpace
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.leases import Leases
from medseg_pipelines.batch.ledger.ledger import Ledger, Row
from medseg_pipelines.batch.ledger.os_errors import DISK_FULL
from medseg_pipelines.batch.ledger.recover import repair
from medseg_pipelines.batch.ledger.run_config import RunConfig
from medseg_pipelines.batch.messages import Fault, Result, Task
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.workers.local_pool import LocalCrew
from medseg_pipelines.batch.workers.protocol import Report, Step, WorkerDied, WorkerPool

_LOOK_S = 0.5
_OTHERS_S = 1.0
_BEATS = 4  # in the time of a lease


@dataclass(frozen=True)
class Job:
    """What a run is to do."""

    places: Places
    package: ModelPackage
    recipe: RunConfig
    options: BatchOptions


class Loop:
    """One run on a ledger, beside which there may be others."""

    def __init__(self, job: Job, ledger: Ledger, events: Events) -> None:
        options = job.options
        self._job, self._ledger, self._events = job, ledger, events
        self._leases = Leases(ledger, lease_s=options.lease_s)
        self._settlement = Committer(ledger, job.places, options.attempts)
        self._patience = WaitForSpace(options.disk_wait_s, events)
        self._crew: WorkerPool | None = None
        self._hands: dict[str, Task] = {}
        self._next_beat = self._next_look = 0.0
        self._told_of_others = False
        self.settled: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def repair(self) -> None:
        """Finish or undo what runs left that are no more."""
        for row in self._insist(lambda: repair(self._settlement, self._leases)):
            self._end(row)

    def work(self) -> None:
        """Work until there is nothing left to do for anybody.

        Raises
        ------
        Cancelled
            When the run is to stop.
        WriteError
            When the disk stays full or cannot be written.
        MedsegError
            When no worker can work.
        """
        while True:
            self._events.check()
            self._keep()
            self._take()
            if self._hands:
                self._hear()
            elif not self._patience.is_waiting and not self._is_anything_left():
                return
            else:
                time.sleep(min(_OTHERS_S, self._job.options.lease_s / _BEATS))

    def close(self) -> None:
        """Stop at once; cases in hand wait again, as if they had not been taken."""
        try:
            if self._crew is not None:
                self._crew.close()
        finally:
            with suppress(MedsegError):  # on a full disk the next run sees that we are gone
                self._leases.end()
        publish.discard(self._job.places, [task.token for task in self._hands.values()])
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self._job.places.scratch / self._leases.owner

    def _keep(self) -> None:
        """Show that we live, let go what others have taken, and see who of them is no more."""
        now = time.monotonic()
        if now < self._next_beat:
            return
        self._next_beat = now + self._job.options.lease_s / _BEATS
        ours = self._insist(self._leases.beat)
        for case, task in list(self._hands.items()):
            if task.token not in ours:
                self._working().kill(case)
                self._drop(case)
                self._events.told(f"case {case[:12]} was taken over by another run")
        self.repair()

    def _take(self) -> None:
        """Lease as many cases as the workers can have in hand."""
        now = time.monotonic()
        room = 1 if self._crew is None else self._crew.capacity - len(self._hands)
        if room <= 0 or now < self._next_look or self._patience.is_waiting:
            return
        options = self._job.options
        rows = self._insist(lambda: self._leases.take(self._job.recipe, room, shard=options.shard))
        if not rows:
            self._next_look = now + _OTHERS_S
        for row in rows:
            self._begin(row)

    def _begin(self, row: Row) -> None:
        job, found = self._job, row.found
        task = Task(
            case=row.case,
            token=row.token,
            found=found,
            staging=str(job.places.staged(row.token)),
            model=str(job.package.folder.absolute()),
            model_digest=job.recipe.model,
            settings=job.options.settings,
            device=job.options.device,
            attempt=row.attempts + 1,
            alone=row.alone,
            min_slices=job.options.min_slices,
            known_content=row.content,
        )
        self._hands[row.case] = task
        self._events.case_started(row.case, found)
        self._working().submit(task)

    def _working(self) -> WorkerPool:
        """The workers; they come when there is something to do."""
        if self._crew is None:
            self._crew = (self._job.options.crew or self._local_crew)()
        return self._crew

    def _local_crew(self) -> WorkerPool:
        options = self._job.options
        return LocalCrew(
            options.workers,
            lease_s=options.lease_s,
            patience_s=options.patience_s,
            memory_gb=options.memory_gb,
            scratch=self._scratch,
        )

    def _hear(self) -> None:
        for report in self._working().events(_LOOK_S):
            self._note(report)

    def _note(self, report: Report) -> None:
        if isinstance(report, Step):
            self._events.case_progress(report.case, report.stage, report.done, report.total)
        elif isinstance(report, WorkerDied):
            self._death(report)
        elif (task := self._hands.get(report.case)) and task.token == report.token:
            self._result(report)

    def _result(self, result: Result) -> None:
        code = result.fault.code if result.fault else ""
        if result.state == "failed" and code == DISK_FULL:
            self._put_off(result)
            return
        if result.state == "failed" and code == "NO_PERMISSION":
            raise WriteError(
                f"'{self._job.places.output}' may no longer be written; see to that and run the"
                " same command again",
                code=code,
            )
        row = self._insist(lambda: self._settlement.settle(result))
        self._drop(result.case)
        if row is not None:
            self._end(row)

    def _put_off(self, result: Result) -> None:
        """The disk was full: nobody's fault, and no attempt."""
        self._drop(result.case)
        self._insist(lambda: self._leases.give_back([result.token]))
        self._patience.full(
            WriteError(
                f"the disk of '{self._job.places.output}' is full; free some space and run the same"
                " command again",
                code=DISK_FULL,
            )
        )

    def _death(self, died: WorkerDied) -> None:
        """A worker died with cases in hand."""
        leases = [(case, self._hands[case].token) for case in died.cases if case in self._hands]
        fault = Fault(code=died.code, message=died.message)
        rows = self._insist(lambda: self._settlement.settle_death(leases, fault))
        if len(rows) > 1:
            self._events.told(
                f"{died.message}; it had {len(rows)} cases in hand, which are tried again one by"
                " one"
            )
        for case, _ in leases:
            self._drop(case)
        for row in rows:
            self._end(row)

    def _end(self, row: Row) -> None:
        """Tell what became of a case, or that it will be tried again."""
        if row.state == "waiting":
            if row.attempts:
                self._events.told(
                    f"case {row.case[:12]} failed ({row.code}, attempt {row.attempts} of"
                    f" {self._job.options.attempts}) and will be tried again"
                )
            return
        if row.state == "done":
            self._patience.over()
        self.settled[row.state] += 1
        if row.code:
            self.codes[row.code] += 1
        self._events.case_ended(row)

    def _drop(self, case: str) -> None:
        task = self._hands.pop(case)
        self._next_look = 0.0
        publish.discard(self._job.places, [task.token])

    def _is_anything_left(self) -> bool:
        """Whether cases wait, or others have some in hand."""
        waiting, leased = self._leases.left(self._job.recipe, shard=self._job.options.shard)
        if not waiting and leased and not self._told_of_others:
            self._told_of_others = True
            self._events.told(
                f"{leased} cases are in hand in other runs; this one waits for them, and takes over"
                " what they leave"
            )
        return bool(waiting or leased)

    def _insist(self, write: Callable[[], Answer]) -> Answer:
        return self._patience.insist(write)
