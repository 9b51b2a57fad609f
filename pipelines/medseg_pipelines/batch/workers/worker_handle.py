"""The run's end of one worker process."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from medseg_pipelines.batch.messages import Task
from medseg_pipelines.batch.workers.protocol import Step
from medseg_pipelines.batch.workers.worker_process import Message, MessageWriter, WorkerOptions

_START_SECONDS = 120.0
_MODULE = "medseg_pipelines.batch.workers.worker_process"
_DECODER = msgspec.json.Decoder(Message)


@dataclass
class InFlight:
    """A task that a worker has."""

    task: Task
    begun: bool = False  # whether the worker said that it began
    progress_at: float = field(default_factory=time.monotonic)


class WorkerHandle:
    """A worker process: started, given tasks, listened to, killed.

    Its messages are queued, and None at its end. `scratch` is made for its temporary files, and
    removed; `threads` is how many may compute.
    """

    def __init__(
        self,
        options: WorkerOptions,
        messages: queue.SimpleQueue[tuple[WorkerHandle, Message | None]],
        *,
        scratch: Path | None,
        threads: int | None,
    ) -> None:
        self.number = options.number
        self.in_flight: dict[str, InFlight] = {}
        self.killed_as = ""
        self.oom_kills_before = oom_kills()
        self._messages, self._scratch = messages, scratch
        self._last_sign = time.monotonic() + _START_SECONDS
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", _MODULE, msgspec.json.encode(options).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(scratch, threads),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin = self.process.stdin
        self._writer = MessageWriter(self._stdin)
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def has_room(self, task: Task, most: int) -> bool:
        """Whether it may take a task; one that is to be tried alone keeps others away."""
        is_reserved = any(case.task.alone for case in self.in_flight.values())
        return not is_reserved and len(self.in_flight) < (1 if task.alone else most)

    def give(self, task: Task) -> None:
        """Give it a task."""
        self.in_flight[task.case] = InFlight(task)
        with suppress(OSError):  # it has ended, which its pipe will show
            self._writer.send(task)

    def note(self, step: Step | None = None) -> None:
        """It gave a sign of life, or made a step."""
        self._last_sign = time.monotonic()
        if step is not None and step.case in self.in_flight:
            case = self.in_flight[step.case]
            case.begun, case.progress_at = True, self._last_sign

    def is_silent(self, seconds: float) -> bool:
        """Whether it gave no sign of life for so long."""
        return time.monotonic() - self._last_sign > seconds

    def is_stalled(self, seconds: float) -> bool:
        """Whether none of the cases it has begun got further for so long."""
        begun = [case for case in self.in_flight.values() if case.begun]
        latest = max((case.progress_at for case in begun), default=time.monotonic())
        return bool(begun) and time.monotonic() - latest > seconds

    def kill(self, code: str = "") -> None:
        """End it and all that it started; its last message comes later."""
        self.killed_as = self.killed_as or code
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def reap(self) -> int:
        """Wait for its end and clear away after it; its exit code, or minus the signal."""
        self.kill()  # those that it started, if it ended by itself
        code = self.process.wait()
        with suppress(OSError):
            self._stdin.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        return code

    def _listen(self, pipe: IO[bytes]) -> None:
        """Put everything it says into the queue, and None at its end."""
        try:
            for line in pipe:
                self._messages.put((self, _DECODER.decode(line)))
        except (OSError, ValueError, msgspec.MsgspecError):
            self.kill()  # it says what cannot be understood
        finally:
            pipe.close()
            self._messages.put((self, None))


def oom_kills() -> int:
    """How many processes Linux has ended because memory was short (proc(5)); 0 elsewhere."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _environment(scratch: Path | None, threads: int | None) -> dict[str, str]:
    """Variables for a worker: its own folder for temporary files, its share of the cores."""
    # Threads that wait for each other sleep and do not spin: the cores are for others meanwhile.
    variables = {"OMP_WAIT_POLICY": "passive", **os.environ}
    if scratch is not None:
        variables["TMPDIR"] = str(scratch)
    if threads is not None:
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return variables
