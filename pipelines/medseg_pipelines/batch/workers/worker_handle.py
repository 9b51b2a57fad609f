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
from medseg_pipelines.batch.workers.framing import Said, Sender, receive
from medseg_pipelines.batch.workers.protocol import Step
from medseg_pipelines.batch.workers.worker_process import Orders

_START_SECONDS = 120.0
_DECODED = msgspec.json.Decoder(Said)


@dataclass
class Hand:
    """A task that a worker has.

    Parameters
    ----------
    task : Task
    begun : bool
        Whether it said that it began.
    since : float
        When it got further the last time.
    """

    task: Task
    begun: bool = False
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class WorkerMessage:
    """Something that a worker said, or None when it has ended."""

    link: WorkerLink
    said: Said | None


class WorkerLink:
    """A worker process: started, told tasks, listened to, killed.

    Parameters
    ----------
    orders : Orders
    heard : queue of WorkerMessage
        Where everything it says goes.
    scratch : Path or None
        Folder, to be made, for its temporary files; removed when it has ended.
    threads : int or None
        How many threads it may compute with.
    """

    def __init__(
        self,
        orders: Orders,
        heard: queue.SimpleQueue[WorkerMessage],
        *,
        scratch: Path | None,
        threads: int | None,
    ) -> None:
        self.number = orders.number
        self.hands: dict[str, Hand] = {}
        self.killed_as = ""
        self.victims = oom_victims()
        self._heard, self._scratch = heard, scratch
        self._last = time.monotonic() + _START_SECONDS
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable,
                "-P",
                "-m",
                "medseg_pipelines.batch.workers.worker_process",
                msgspec.json.encode(orders).decode(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(scratch, threads),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._sender = Sender(self.process.stdin)
        listener = threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True)
        listener.start()

    @property
    def has_dangerous_case(self) -> bool:
        """Whether it has a case in hand that is to be tried alone."""
        return any(hand.task.alone for hand in self.hands.values())

    def give(self, task: Task) -> None:
        """Hand it a task."""
        self.hands[task.case] = Hand(task)
        with suppress(OSError):  # it has ended, which will be heard
            self._sender.send(task)

    def note(self, step: Step | None) -> None:
        """It gave a sign of life, or told a step."""
        self._last = time.monotonic()
        if step is not None and step.case in self.hands:
            hand = self.hands[step.case]
            hand.begun, hand.since = True, time.monotonic()

    def is_silent(self, seconds: float) -> bool:
        """Whether it gave no sign of life for so long."""
        return time.monotonic() - self._last > seconds

    def stuck(self, seconds: float) -> list[str]:
        """Cases that got no further for so long, while nothing else in the same worker did."""
        now = time.monotonic()
        late = [hand for hand in self.hands.values() if hand.begun and now - hand.since > seconds]
        others = [hand for hand in self.hands.values() if hand.begun and hand not in late]
        return [] if others else [hand.task.case for hand in late]

    def kill(self, code: str = "") -> None:
        """End it and all that it started; that it ended is heard later."""
        self.killed_as = self.killed_as or code
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def reap(self) -> int:
        """Wait for its end and clear away after it.

        Returns
        -------
        int
            Its exit code; minus the signal that ended it.
        """
        self.kill()  # those that it started, if it ended by itself
        code = self.process.wait()
        with suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        return code

    def _listen(self, pipe: IO[bytes]) -> None:
        """Put everything it says into the queue, and None at its end."""
        try:
            while content := receive(pipe):
                self._heard.put(WorkerMessage(self, _DECODED.decode(content)))
        except (OSError, ValueError, msgspec.MsgspecError):
            self.kill()  # it says what cannot be understood
        finally:
            pipe.close()
            self._heard.put(WorkerMessage(self, None))


def oom_victims() -> int:
    """How many processes the system has ended because memory was short; 0 where it does not tell.

    References
    ----------
    proc(5), /proc/vmstat, ``oom_kill``.
    """
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _environment(scratch: Path | None, threads: int | None) -> dict[str, str]:
    """Variables for a worker: its own folder for temporary files, its share of the cores.

    Threads of the network that wait for each other sleep and do not spin, unless the person chose
    otherwise: the cores are for reading, writing and others meanwhile.
    """
    mine = {"OMP_WAIT_POLICY": "passive", **os.environ}
    if scratch is not None:
        mine["TMPDIR"] = str(scratch)
    if threads is not None:
        mine |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return mine
