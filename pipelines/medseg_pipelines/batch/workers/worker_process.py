"""The process of one worker: tasks come in by standard input, reports go out.

    python -m medseg_pipelines.batch.workers.worker_process '{"parent": 1, "number": 0}'

It ends when its input does. Nothing that libraries print comes out: it may name patients.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import IO

import msgspec

from medseg.errors import MedsegError
from medseg_pipelines.batch.messages import Result, Task
from medseg_pipelines.batch.workers import process_limits
from medseg_pipelines.batch.workers.framing import Beat, Ended, Sender, Unfit, receive
from medseg_pipelines.batch.workers.protocol import Step

_SECONDS_BETWEEN_STEPS = 0.5


class Orders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is told when it starts.

    Parameters
    ----------
    parent : int
        The process of the run.
    number : int
        Of the worker, from 0; it chooses the GPU where there are several.
    beat_s : float
        Seconds between two signs of life.
    memory_gb : float or None
    """

    parent: int
    number: int = 0
    beat_s: float = 1.0
    memory_gb: float | None = None


def main() -> None:
    """Work until the input ends."""
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    process_limits.apply(orders.parent, orders.memory_gb)
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    sender = Sender(target)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, tasks), daemon=True).start()
    threading.Thread(target=_beat, args=(sender, orders.beat_s), daemon=True).start()
    try:
        _work(tasks, sender, orders.number)
    except MedsegError as error:
        sender.send(Unfit(kind=type(error).__name__, code=error.code, message=str(error)))
    process_limits.end_all()


def _listen(source: IO[bytes], tasks: queue.SimpleQueue[Task]) -> None:
    """Take tasks, and end everything when the run has gone or wants no more."""
    try:
        while content := receive(source):
            tasks.put(msgspec.json.decode(content, type=Task))
    finally:
        process_limits.end_all()


def _beat(sender: Sender, seconds: float) -> None:
    while True:
        sender.send(Beat())
        time.sleep(seconds)


def _work(tasks: queue.SimpleQueue[Task], sender: Sender, number: int) -> None:
    """Import what takes long, now that the heart beats, and work for ever."""
    from medseg_pipelines.batch.workers.pipeline import AssemblyLine

    def conclude(result: Result) -> None:
        sender.send(Ended(result))

    AssemblyLine(tasks, number=number, tell=_Telling(sender), conclude=conclude).run()


class _Telling:
    """Passes on each new stage, and now and then how far it is."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._next: dict[str, float] = {}

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if step.total and now < self._next.get(step.stage, 0.0):
            return
        self._next[step.stage] = now + _SECONDS_BETWEEN_STEPS
        self._sender.send(step)


if __name__ == "__main__":
    main()
