"""Three cases at once in one process: while one is segmented the next is read, the last written.

At most two cases are read ahead, and one waits to be written, so that memory stays bounded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from medseg_pipelines.batch.messages import Result, Task
from medseg_pipelines.batch.workers.case import (
    ReadCase,
    ReportStep,
    SegmentedCase,
    read_case,
    segment_case,
    write_case,
)
from medseg_pipelines.batch.workers.model_cache import Models
from medseg_pipelines.batch.workers.process_limits import end_all

Case = TypeVar("Case", ReadCase, SegmentedCase)


class CasePipeline:
    """The three steps, each in a thread of its own."""

    def __init__(
        self,
        tasks: queue.SimpleQueue[Task],
        *,
        number: int,
        report_step: ReportStep,
        report: Callable[[Result], None],
    ) -> None:
        self._tasks, self._report_step, self._report = tasks, report_step, report
        self._read: queue.Queue[ReadCase] = queue.Queue(maxsize=1)
        self._segmented: queue.Queue[SegmentedCase] = queue.Queue(maxsize=1)
        self._models = Models(number)
        self._first: Future[Task] = Future()

    def run(self) -> None:
        """Work for ever; `MedsegError` when a model or the device cannot be used."""
        for work in (self._reading, self._writing):
            threading.Thread(target=_or_end, args=(work,), daemon=True).start()
        self._models.of(self._first.result())  # while its scan is being read
        while True:
            case = segment_case(self._read.get(), self._models, self._report_step)
            self._pass_on(case, self._segmented)

    def _reading(self) -> None:
        while True:
            task = self._tasks.get()
            if not self._first.done():
                self._first.set_result(task)
            self._pass_on(read_case(task, self._report_step), self._read)

    def _writing(self) -> None:
        while True:
            self._report(write_case(self._segmented.get(), self._report_step))

    def _pass_on(self, case: Case | Result, next_step: queue.Queue[Case]) -> None:
        if isinstance(case, Result):
            self._report(case)
        else:
            next_step.put(case)


def _or_end(work: Callable[[], None]) -> None:
    """Work; should that ever end, end the process, which the run notices."""
    try:
        work()
    finally:
        end_all()
