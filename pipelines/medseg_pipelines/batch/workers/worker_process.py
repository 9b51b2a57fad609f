"""The process of one worker: tasks come in by standard input, messages go out, a line of JSON each.

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
from medseg_pipelines.batch.workers.protocol import Step

_SECONDS_BETWEEN_STEPS = 0.5


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is told when it starts."""

    parent: int  # the process of the run
    number: int = 0  # of the worker, from 0; it chooses the GPU where there are several
    heartbeat_s: float = 1.0
    memory_gb: float | None = None


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """The worker lives."""


class Unusable(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot work, and no case is to blame."""

    kind: str  # name of the error's class in medseg.errors
    code: str
    message: str


Message = Heartbeat | Step | Result | Unusable


class MessageWriter:
    """Writes messages as lines of JSON, from any thread."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._lock = pipe, threading.Lock()
        self._next_step: dict[str, float] = {}

    def send(self, message: Message | Task) -> None:
        """Send a message; raises `OSError` when nobody listens any more."""
        line = msgspec.json.encode(message) + b"\n"
        with self._lock:
            self._pipe.write(line)
            self._pipe.flush()

    def send_step(self, step: Step) -> None:
        """Pass on each new stage, and now and then how far it is."""
        now = time.monotonic()
        if not step.total or now >= self._next_step.get(step.stage, 0.0):
            self._next_step[step.stage] = now + _SECONDS_BETWEEN_STEPS
            self.send(step)


def main() -> None:
    """Work until the input ends."""
    options = msgspec.json.decode(sys.argv[1], type=WorkerOptions)
    process_limits.apply(options.parent, options.memory_gb)
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    writer = MessageWriter(target)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, tasks), daemon=True).start()
    threading.Thread(target=_beat, args=(writer, options.heartbeat_s), daemon=True).start()
    try:
        # Imported late, for it takes seconds: by now heartbeats are sent.
        from medseg_pipelines.batch.workers.pipeline import CasePipeline

        CasePipeline(
            tasks, number=options.number, report_step=writer.send_step, report=writer.send
        ).run()
    except MedsegError as error:
        writer.send(Unusable(kind=type(error).__name__, code=error.code, message=str(error)))
    process_limits.end_all()


def _listen(source: IO[bytes], tasks: queue.SimpleQueue[Task]) -> None:
    """Take tasks, and end everything when the run has gone or wants no more."""
    try:
        for line in source:
            tasks.put(msgspec.json.decode(line, type=Task))
    finally:
        process_limits.end_all()


def _beat(writer: MessageWriter, seconds: float) -> None:
    while True:
        writer.send(Heartbeat())
        time.sleep(seconds)


if __name__ == "__main__":
    main()
