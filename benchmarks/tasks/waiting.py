"""Work on a case that only takes time; it is refused, so that nothing has to be written."""

from __future__ import annotations

import time
from collections.abc import Callable

from medseg_pipelines.batch.crew import Step
from medseg_pipelines.batch.nouns import Fault, Result, Task

SECONDS = 0.5
LOOPS = 10_000_000

Tell = Callable[[Step], None]


def sleep(task: Task, tell: Tell) -> Result:
    """Wait, as for a GPU or a disk."""
    tell(Step(case=task.case, stage="segment"))
    time.sleep(SECONDS)
    return _over(task)


def compute(task: Task, tell: Tell) -> Result:
    """Keep one core busy."""
    tell(Step(case=task.case, stage="segment"))
    sum(range(LOOPS))
    return _over(task)


def _over(task: Task) -> Result:
    fault = Fault(code="MEASURED", message="only the time counts")
    return Result(case=task.case, token=task.token, state="refused", fault=fault)
