"""Three cases at once in one process: while one is segmented the next is read, the last written.

At most two cases are read ahead, and one waits to be written, so that memory stays bounded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from medseg_pipelines.batch.messages import Result, Task
from medseg_pipelines.batch.workers.case import (
    ReadCase,
    SegmentedCase,
    Tell,
    read_case,
    segment_case,
    write_case,
)
from medseg_pipelines.batch.workers.model_cache import Models
from medseg_pipelines.batch.workers.process_limits import end_all


class CasePipeline:
    """The three steps, each in a thread of its own."""

    def __init__(
        self,
        tasks: queue.SimpleQueue[Task],
        *,
        number: int,
        tell: Tell,
        conclude: Callable[[Result], None],
    ) -> None:
        self._tasks, self._tell, self._conclude = tasks, tell, conclude
        self._read: queue.Queue[ReadCase] = queue.Queue(maxsize=1)
        self._segmented: queue.Queue[SegmentedCase] = queue.Queue(maxsize=1)
        self._models = Models(number)
        self._first: Future[Task] = Future()

    def run(self) -> None:
        """Work for ever; segmenting is done in the thread of the caller.

        Raises `MedsegError` when a model or the device cannot be used.
        """
        for work in (self._reading, self._writing):
            threading.Thread(target=_or_end, args=(work,), daemon=True).start()
        self._models.of(self._first.result())  # while its scan is being read
        while True:
            case = segment_case(self._read.get(), self._models, self._tell)
            if isinstance(case, Result):
                self._conclude(case)
            else:
                self._segmented.put(case)

    def _reading(self) -> None:
        while True:
            task = self._tasks.get()
            if not self._first.done():
                self._first.set_result(task)
            case = read_case(task, self._tell)
            if isinstance(case, Result):
                self._conclude(case)
            else:
                self._read.put(case)

    def _writing(self) -> None:
        while True:
            self._conclude(write_case(self._segmented.get(), self._tell))


def _or_end(work: Callable[[], None]) -> None:
    """Work; should that ever end, end the process, so that the run hears of it."""
    try:
        work()
    finally:
        end_all()
