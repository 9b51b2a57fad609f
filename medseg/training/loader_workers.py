"""Several processes, or threads, that change patches by a person's transforms."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Protocol

from torch import Tensor

from medseg.errors import InputError, MedsegError, reason
from medseg.runtime.processor import core_count
from medseg.training.own_parts import OwnAugmentation
from medseg.training.patch_worker import receive, receive_patch, send, send_patch

MOST_WORKERS = 8
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _Worker(Protocol):
    def change(self, image: Tensor, label: Tensor, seed: int) -> None: ...

    def end(self) -> None: ...


class PatchWorkers:
    """Change patches where they lie, several at once.

    Processes, or threads of this one where the transforms cannot be handed to another process,
    with a warning. A patch is changed by its seed alone, whoever changes it.

    Parameters
    ----------
    augment : OwnAugmentation
    count : int, optional
        How many; half of the cores, at most 8, when None.
    """

    def __init__(self, augment: OwnAugmentation, count: int | None = None) -> None:
        self.count = count or min(max(core_count() // 2, 1), MOST_WORKERS)
        self.workers = _processes(augment, self.count) or _threads(augment, self.count)
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self.workers:
            self._free.put(worker)
        self._pool = ThreadPoolExecutor(len(self.workers), "medseg-patches")

    def change(self, image_CIJK: Tensor, label_IJK: Tensor, seed: int) -> Future[None]:
        """Change a patch in place, some time later.

        Parameters
        ----------
        image_CIJK : torch.Tensor
            float32, in main memory.
        label_IJK : torch.Tensor
            uint8 class indices.
        seed : int

        Returns
        -------
        Future
            Raises `InputError` where the transforms fail, and `MedsegError` where a process died.
        """
        return self._pool.submit(self._change, image_CIJK, label_IJK, seed)

    def _change(self, image: Tensor, label: Tensor, seed: int) -> None:
        worker = self._free.get()
        try:
            worker.change(image, label, seed)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End all, whatever they do."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self.workers:
            worker.end()
        self._pool.shutdown(wait=True)


class _Thread:
    """Transforms in this process."""

    def __init__(self, augment: OwnAugmentation) -> None:
        self.augment = augment

    def change(self, image: Tensor, label: Tensor, seed: int) -> None:
        image_after, label_after = self.augment(image, label.long(), seed=seed)
        image.copy_(image_after)
        label.copy_(label_after)

    def end(self) -> None:
        """Nothing: a thread ends with its pool."""


class _Process:
    """A process with the transforms."""

    def __init__(self, pickled: bytes) -> None:
        path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "medseg.training.patch_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        )
        with suppress(OSError):  # then it has ended, which `fault` finds
            send(self.target, pickled)

    @property
    def source(self) -> BinaryIO:
        return self.process.stdout  # type: ignore[return-value]

    @property
    def target(self) -> BinaryIO:
        return self.process.stdin  # type: ignore[return-value]

    def fault(self) -> str | None:
        """Why it cannot work, once it has tried; None when it can."""
        try:
            answer: dict[str, str] = json.loads(receive(self.source))
        except (OSError, EOFError):
            return f"the process {_end_in_words(self.process.wait())}"
        return answer.get("fault")

    def change(self, image: Tensor, label: Tensor, seed: int) -> None:
        try:
            asked = {"shape": list(image.shape), "seed": seed}
            send(self.target, json.dumps(asked).encode())
            send_patch(self.target, image, label)
            answer: dict[str, Any] = json.loads(receive(self.source))
            if "fault" not in answer:
                receive_patch(self.source, image, label)
                return
        except (OSError, EOFError, ValueError) as error:
            raise MedsegError(
                "a process with the augmentation that was given"
                f" {_end_in_words(self.process.wait())}; what was learnt is kept, go on from there"
                " with resume",
                code="WORKER",
            ) from error
        raise InputError(answer["fault"])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.source, self.target):
            with suppress(OSError):  # what was not yet written to a process that has gone
                pipe.close()


def _processes(augment: OwnAugmentation, count: int) -> Sequence[_Worker]:
    """Processes that have the transforms; none where these cannot be handed over."""
    try:
        pickled = pickle.dumps(augment)
        # what a script or notebook defines has no name in another process
        why = "it is defined in the script itself" if b"__main__" in pickled else None
    except Exception as error:  # noqa: BLE001 - another's code; it may raise anything
        why = reason(error)
    workers = [] if why else [_Process(pickled) for _ in range(count)]
    faults = [worker.fault() for worker in workers]
    why = next(filter(None, faults), why)
    if why is None:
        return workers
    for worker in workers:
        worker.end()
    warnings.warn(
        "the augmentation that was given runs in threads of this process, not in processes of its"
        f" own, since it cannot be handed to them ({why}); transforms and functions of a module"
        " that can be imported can, lambdas cannot",
        stacklevel=2,
    )
    return []


def _threads(augment: OwnAugmentation, count: int) -> Sequence[_Worker]:
    """Threads with transforms of their own, which remember their seed; one where none can be."""
    try:
        return [_Thread(deepcopy(augment)) for _ in range(count)]
    except Exception:  # noqa: BLE001 - another's code; it may raise anything
        return [_Thread(augment)]


def _end_in_words(code: int) -> str:
    """How a process ended, and what to try."""
    if code >= 0:
        return f"ended with exit code {code}; look at what it printed"
    name = signal.Signals(-code).name
    if -code == getattr(signal, "SIGKILL", 9):
        return (
            f"was ended by the system ({name}), most likely since main memory ran out; end other"
            " programs, or give a smaller batch"
        )
    return f"crashed ({name}) in compiled code of one of the transforms; leave that one out"
