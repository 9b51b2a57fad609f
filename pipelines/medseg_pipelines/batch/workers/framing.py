"""Messages between a run and its worker processes: JSON, each after its length."""

from __future__ import annotations

import struct
import threading
from typing import IO

import msgspec

from medseg_pipelines.batch.messages import Result
from medseg_pipelines.batch.workers.protocol import Step

_LENGTH = struct.Struct("<I")
_MOST_BYTES = 64 << 20


class Beat(msgspec.Struct, frozen=True, tag=True):
    """The worker lives."""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A case has ended."""

    result: Result


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot work, and no case is to blame.

    Parameters
    ----------
    kind : str
        Name of the error's class in :mod:`medseg.errors`.
    code, message : str
    """

    kind: str
    code: str
    message: str


Said = Beat | Step | Ended | Unfit


class Sender:
    """Sends messages, from any thread."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, message: object) -> None:
        """Send a structure.

        Raises
        ------
        OSError
            When nobody listens any more.
        """
        content = msgspec.json.encode(message)
        with self._lock:
            self._pipe.write(_LENGTH.pack(len(content)) + content)
            self._pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """The next message, or None when the other side has gone.

    Raises
    ------
    ValueError
        When what comes is no message.
    """
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > _MOST_BYTES:
        raise ValueError(f"a message of {length} bytes")
    content = pipe.read(length)
    return content if len(content) == length else None
