"""Multipart bodies of DICOMweb, as files and streams: one object at a time, never in memory."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
_LONGEST_HEAD = 1 << 14


def boundary_of(content_type: str) -> str | None:
    """The boundary of a multipart Content-Type; None when it is another type."""
    parsed = Message()
    parsed["Content-Type"] = content_type
    if parsed.get_content_maintype() != "multipart":
        return None
    return str(parsed.get_param("boundary", "")) or None


def unwrap(body: Path, boundary: str, target: Path) -> bool:
    """Take the first part out of a multipart body of one part.

    Returns
    -------
    bool
        False when the body is not whole; `target` is not written then.
    """
    mark = b"--" + boundary.encode("ascii", "replace")
    size = body.stat().st_size
    with body.open("rb") as file:
        head = file.read(_LONGEST_HEAD)
        begin = head.find(b"\r\n\r\n", max(head.find(mark), 0))
        file.seek(max(0, size - _LONGEST_HEAD))
        tail = file.read()
        end = tail.rfind(b"\r\n" + mark + b"--")
        if mark not in head or begin < 0 or end < 0:
            return False
        start, stop = begin + 4, max(0, size - _LONGEST_HEAD) + end
        file.seek(start)
        with target.open("wb") as part:
            for count in _counts(stop - start):
                part.write(file.read(count))
    return True


@contextmanager
def wrapped(path: Path) -> Iterator[tuple[str, Body]]:
    """A DICOM file as the body of a STOW-RS request.

    Parameters
    ----------
    path : Path
        Read while it is sent.

    Yields
    ------
    tuple
        The Content-Type, and the body.
    """
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = len(head) + path.stat().st_size + len(tail)
    with path.open("rb") as file:
        body = Body([io.BytesIO(head), file, io.BytesIO(tail)], length)
        yield f'multipart/related; type="application/dicom"; boundary={boundary}', body


class Body:
    """Several files one after the other, as HTTP libraries read one."""

    def __init__(self, files: list[BinaryIO], length: int) -> None:
        self._files, self._length = files, length

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        while self._files:
            if piece := self._files[0].read(_CHUNK if size < 0 else size):
                return piece
            self._files.pop(0)
        return b""


def _counts(total: int) -> Iterator[int]:
    """Sizes of the pieces of a copy."""
    yield from [_CHUNK] * (total // _CHUNK)
    if total % _CHUNK > 0:
        yield total % _CHUNK
