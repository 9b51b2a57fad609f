"""Processes that decode compressed frames, started when the first one comes.

See docs/decisions for why: what a codec does with hostile bytes ends such a process and no other,
and several of them decode at once.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_SCRIPT = Path(__file__).with_name("_decoding_worker.py")
_MOST_WORKERS = 4
_FRAME_SECONDS = 10.0
_START_SECONDS = 60.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Options = Mapping[str, str | int]


class DecodingError(Exception):
    """A frame that could not be decoded; the message says what kind of failure it was."""


class Crew:
    """Decoding processes of one series; leaving the context ends them."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._workers: list[_Worker] = []
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
        return self._pool.submit(self._decode, frame, options)

    def _decode(self, frame: bytes, options: Options) -> npt.NDArray[Any]:
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None or not worker.is_alive():
            worker = self._own.worker = _Worker()
            self._workers.append(worker)
        return worker.decode(frame, options)

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


class _Worker:
    """One process; killed when a frame takes too long."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD},
        )
        self._patience = _START_SECONDS

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, frame: bytes, options: Options) -> npt.NDArray[Any]:
        watch = threading.Timer(self._patience, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            head, content = self._ask(frame, json.dumps(dict(options)).encode())
        except (OSError, EOFError, struct.error, ValueError) as error:
            self._process.kill()
            self._process.wait()
            raise DecodingError("the decoder ended or took too long") from error
        finally:
            watch.cancel()
        self._patience = _FRAME_SECONDS
        if "fault" in head:
            raise DecodingError(head["fault"])
        return np.frombuffer(content, head["dtype"]).reshape(head["shape"])

    def _ask(self, frame: bytes, options: bytes) -> tuple[dict[str, Any], bytes]:
        source, target = self._process.stdout, self._process.stdin
        assert source is not None
        assert target is not None
        target.write(struct.pack("<II", len(options), len(frame)) + options)
        target.write(frame)
        target.flush()
        head = json.loads(source.read(struct.unpack("<I", source.read(4))[0]))
        content = source.read(head["length"])
        if len(content) != head["length"]:
            raise EOFError
        return head, content

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:  # what was not yet written to a process that has gone
                    continue


def _processes() -> int:
    """How many processes work at once."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        cores = os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores))
