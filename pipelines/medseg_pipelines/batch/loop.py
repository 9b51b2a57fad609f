"""The loop of a run: take cases, give them to workers, write down what became of them."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import MedsegError, WriteError
from medseg.model_package import ModelPackage
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger import publish
from medseg_pipelines.batch.ledger.commit import Committer, Leases, recover
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import Ledger, Row, RunConfig
from medseg_pipelines.batch.ledger.storage_errors import DISK_FULL, DiskFullWait, disk_full_error
from medseg_pipelines.batch.messages import Fault, Result, Task
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.workers.local_pool import LocalPool
from medseg_pipelines.batch.workers.protocol import Report, Step, WorkerDied, WorkerPool

_POLL_S = 0.5
_NEXT_LOOK_S = 1.0


@dataclass(frozen=True)
class Job:
    """What a run is to do."""

    places: Places
    package: ModelPackage
    run_config: RunConfig
    options: BatchOptions


class Loop:
    """One run on a ledger; it holds the lock of its share of the archive."""

    def __init__(self, job: Job, ledger: Ledger, events: Events) -> None:
        self._job, self._events = job, events
        self._leases = Leases(ledger, job.run_config, job.options.shard)
        self._committer = Committer(ledger, job.places, job.options.attempts)
        self._disk_full = DiskFullWait(job.options.disk_wait_s, events)
        self._write = self._disk_full.wait_for_space
        self._pool: WorkerPool | None = None
        self._in_flight: dict[str, Task] = {}
        self._next_look = 0.0
        self.settled: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def recover(self) -> None:
        """Finish or undo what a dead run left."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        for row in self._write(lambda: recover(self._committer, self._leases)):
            self._end(row)

    def work(self) -> None:
        """Work until nothing waits and nothing is in flight."""
        while True:
            self._events.check()
            may_be_more = self._take()
            if self._in_flight:
                for report in self._workers().events(_POLL_S):
                    self._handle(report)
            elif not may_be_more:
                return
            else:
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Stop at once; cases in flight wait again, as if they had not been taken."""
        tokens = [task.token for task in self._in_flight.values()]
        try:
            if self._pool is not None:
                self._pool.close()
        finally:
            with suppress(MedsegError):  # on a full disk the next run sees that we are gone
                self._leases.give_back_all()
        publish.discard(self._job.places, tokens)
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self._job.places.scratch / self._leases.owner

    def _take(self) -> bool:
        """Lease as many cases as the workers have room for; False when none waits."""
        now = time.monotonic()
        room = 1 if self._pool is None else self._pool.capacity - len(self._in_flight)
        if room <= 0 or self._disk_full.is_waiting:
            return True
        if now < self._next_look:
            return False
        rows = self._write(lambda: self._leases.take(room))
        if not rows:
            self._next_look = now + _NEXT_LOOK_S
        for row in rows:
            self._begin(row)
        return bool(rows)

    def _begin(self, row: Row) -> None:
        job, scan = self._job, row.scan
        task = Task(
            case=row.case,
            token=row.token,
            scan=scan,
            staging=str(job.places.staged(row.token)),
            model=str(job.package.folder.absolute()),
            model_digest=job.run_config.model,
            settings=job.options.settings,
            device=job.options.device,
            attempt=row.attempts + 1,
            alone=row.alone,
            min_slices=job.options.min_slices,
            known_content=row.content,
        )
        self._in_flight[row.case] = task
        self._events.case_started(row.case, scan)
        self._workers().submit(task)

    def _workers(self) -> WorkerPool:
        """The workers; they come when there is something to do."""
        options = self._job.options
        if self._pool is None and options.pool is not None:
            self._pool = options.pool()
        elif self._pool is None:
            self._pool = LocalPool(
                options.workers,
                heartbeat_timeout_s=options.heartbeat_timeout_s,
                stall_timeout_s=options.stall_timeout_s,
                memory_gb=options.memory_gb,
                scratch=self._scratch,
            )
        return self._pool

    def _handle(self, report: Report) -> None:
        if isinstance(report, Step):
            self._events.case_progress(report.case, report.stage, report.done, report.total)
        elif isinstance(report, WorkerDied):
            self._handle_death(report)
        elif (task := self._in_flight.get(report.case)) and task.token == report.token:
            self._handle_result(report)

    def _handle_result(self, result: Result) -> None:
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
        row = self._write(lambda: self._committer.settle(result))
        self._drop(result.case)
        if row is not None:
            self._end(row)

    def _put_off(self, result: Result) -> None:
        """The disk was full, which counts as no attempt."""
        self._drop(result.case)
        self._write(lambda: self._leases.give_back([result.token]))
        self._disk_full.full(disk_full_error(self._job.places.output))

    def _handle_death(self, died: WorkerDied) -> None:
        """A worker died with cases in flight."""
        cases = [case for case in died.cases if case in self._in_flight]
        leases = [(case, self._in_flight[case].token) for case in cases]
        fault = Fault(code=died.code, message=died.message)
        rows = self._write(lambda: self._committer.settle_death(leases, fault))
        if len(rows) > 1:
            self._events.on_message(
                f"{died.message}; it had {len(rows)} cases in hand, which are tried again one by"
                " one"
            )
        for case in cases:
            self._drop(case)
        for row in rows:
            self._end(row)

    def _end(self, row: Row) -> None:
        """Report what became of a case, or that it will be tried again."""
        if row.state == "waiting":
            if row.attempts:
                self._events.on_message(
                    f"case {row.case[:12]} failed ({row.code}, attempt {row.attempts} of"
                    f" {self._job.options.attempts}) and will be tried again"
                )
            return
        if row.state == "done":
            self._disk_full.over()
        self.settled[row.state] += 1
        if row.code:
            self.codes[row.code] += 1
        self._events.case_ended(row)

    def _drop(self, case: str) -> None:
        task = self._in_flight.pop(case)
        self._next_look = 0.0
        publish.discard(self._job.places, [task.token])
