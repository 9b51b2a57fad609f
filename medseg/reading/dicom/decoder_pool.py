"""Processes that decode compressed frames, started as soon as a header says that some will come.

Codecs are C code that reads bytes from strangers: what a crafted frame does to one ends such a
process and not the reader, and several of them decode at once. No process decodes for two series
(see docs/decisions).
"""

from __future__ import annotations

import atexit
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from medseg.runtime.processor import core_count

_SCRIPT = Path(__file__).with_name("decoder_worker.py")
_MOST_WORKERS = 4
_FRAME_SECONDS = 10.0
_START_SECONDS = 60.0
_UNUSED_SECONDS = 10.0
_PIPE_BYTES = 1 << 20
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Options = Mapping[str, str | int]


class DecodingError(Exception):
    """A frame that could not be decoded; the message says what kind of failure it was."""


class DecoderPool:
    """Decoding processes of one series; leaving the context ends them."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._workers: list[_Worker] = []
        self._free: list[_Worker] = []
        self._own = threading.local()

    @property
    def ahead(self) -> int:
        """Frames that are worth handing in before the first result is awaited."""
        return 0 if self._pool is None else 2 * _processes()

    def decode(self, frame: bytes, options: Options) -> Future[npt.NDArray[Any]]:
        """Values of a frame, some time later.

        Parameters
        ----------
        frame : bytes
            Encoded, without item tags.
        options : mapping
            Keywords of pydicom's decoder, the transfer syntax as "syntax", its "plugin".

        Returns
        -------
        Future of ndarray, shape (J, I) or (J, I, samples)
            Raises `DecodingError` where it cannot be decoded.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_processes(), "medseg-decoding")
            self._workers = _warm_pool.take()
            self._free = list(self._workers)
        return self._pool.submit(self._decode, frame, options)

    def _decode(self, frame: bytes, options: Options) -> npt.NDArray[Any]:
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None or not worker.is_alive():
            worker = self._own.worker = self._next_worker(str(options["syntax"]))
        return worker.decode(frame, options)

    def _next_worker(self, syntax: str) -> _Worker:
        """A worker that was started ahead, or a new one."""
        with suppress(IndexError):
            while not (worker := self._free.pop()).is_alive():
                continue
            return worker
        worker = _Worker(syntax)
        self._workers.append(worker)
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for worker in list(self._workers):
                worker.end()
            self._pool.shutdown(wait=True)
        for worker in self._workers:
            worker.end()


class _WarmPool:
    """Workers that were started before their series is read; ended when none is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._ending: threading.Timer | None = None

    def start_one(self, syntax: str) -> None:
        """Start a worker where there are not as many as can work at once."""
        with self._lock, suppress(OSError):  # then the pool tries again, and raises
            if len(self._workers) >= _processes():
                return
            self._workers.append(_Worker(syntax))
            if self._ending is None:
                self._ending = threading.Timer(_UNUSED_SECONDS, self.end)
                self._ending.daemon = True
                self._ending.start()

    def take(self) -> list[_Worker]:
        """All of them; they are the caller's to end."""
        with self._lock:
            if self._ending is not None:
                self._ending.cancel()
            workers, self._workers, self._ending = self._workers, [], None
        return workers

    def end(self) -> None:
        """End those that no series has taken."""
        for worker in self.take():
            worker.end()

    def abandon(self) -> None:
        """In a forked process: leave them to the process that started them."""
        for worker in self._workers:
            worker.abandon()
        self._lock, self._workers, self._ending = threading.Lock(), [], None


class _Worker:
    """One process, quickest with frames of one syntax; killed when a frame takes too long."""

    def __init__(self, syntax: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-P", str(_SCRIPT), syntax],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD},
        )
        self._timeout_s = _START_SECONDS
        for pipe in (self._process.stdin, self._process.stdout):
            _widen(pipe)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, frame: bytes, options: Options) -> npt.NDArray[Any]:
        timer = threading.Timer(self._timeout_s, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            reply, content = self._request(frame, json.dumps(dict(options)).encode())
        except (OSError, EOFError, struct.error, ValueError) as error:
            self._process.kill()
            self._process.wait()
            raise DecodingError("the decoder ended or took too long") from error
        finally:
            timer.cancel()
        self._timeout_s = _FRAME_SECONDS
        if "fault" in reply:
            raise DecodingError(reply["fault"])
        return np.frombuffer(content, reply["dtype"]).reshape(reply["shape"])

    def _request(self, frame: bytes, options: bytes) -> tuple[dict[str, Any], bytes]:
        source, target = self._process.stdout, self._process.stdin
        assert source is not None
        assert target is not None
        target.write(struct.pack("<II", len(options), len(frame)) + options)
        target.write(frame)
        target.flush()
        reply = json.loads(source.read(struct.unpack("<I", source.read(4))[0]))
        content = source.read(reply["length"])
        if len(content) != reply["length"]:
            raise EOFError
        return reply, content

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def abandon(self) -> None:
        self._process.returncode = 0  # so that nothing waits for another's child
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:  # what was not yet written to a process that has gone
                    continue


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold a frame, where the system can, so that nobody waits for its halves."""
    try:
        import fcntl

        if pipe is not None and sys.platform == "linux":
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, OSError):
        return


def _processes() -> int:
    """How many processes work at once."""
    return min(_MOST_WORKERS, core_count())


_warm_pool = _WarmPool()
atexit.register(_warm_pool.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_warm_pool.abandon)


def prewarm(syntax: str) -> None:
    """Start one more process, up to those that work at once, for frames that will come soon.

    They end after some seconds without a series to decode.
    """
    _warm_pool.start_one(syntax)


def end_prewarmed() -> None:
    """End the processes that wait for frames."""
    _warm_pool.end()
