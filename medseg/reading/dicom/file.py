"""DICOM files opened so that no byte in them can make reading take more than the file deserves."""

from __future__ import annotations

import functools
import io
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import ReadError

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST_INFLATED = 256 << 20
_CHUNK = 1 << 18


def dataset_of(path: Path, **options: Any) -> Dataset:
    """Parse a DICOM file with ``pydicom.dcmread``, safely.

    Raises
    ------
    ReadError
        Code ``TOO_LARGE``, when a deflated file grows beyond what a scan needs.
    """
    from pydicom import dcmread

    quiet_pydicom()
    with GuardedFile(path) as file:
        return dcmread(file, **options)


@functools.cache
def quiet_pydicom() -> None:
    """Keep pydicom's warnings off the error stream: the reader says what matters in its notes."""
    warnings.filterwarnings("ignore", module=r"pydicom\.")


class GuardedFile(io.BufferedReader):
    """A file whose reads never allocate more than it holds, nor inflate to more than 256 MiB.

    Lengths in a DICOM file may be anything up to 4 GiB whatever the file's size. pydicom asks for
    "all the rest" only to inflate it, which is tried here first, piece by piece.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Bytes, as of any file."""
        if size is None or size < 0:
            rest = super().read()
            check_inflated(rest)
            return rest
        return super().read(min(size, self.size) if size > _CHUNK else size)


def check_inflated(deflated: bytes) -> None:
    """Raise `ReadError` when raw deflated bytes hold more than 256 MiB.

    Parameters
    ----------
    deflated : bytes
        Without a zlib header, as in the deflated transfer syntax (DICOM PS3.5 A.5).
    """
    inflating, grown, remaining = zlib.decompressobj(-zlib.MAX_WBITS), 0, deflated
    while remaining and not inflating.eof:
        grown += len(inflating.decompress(remaining, _CHUNK))
        remaining = inflating.unconsumed_tail
        if grown > _MOST_INFLATED:
            raise ReadError(
                f"a deflated file of {len(deflated)} bytes that grows beyond"
                f" {_MOST_INFLATED >> 20} MiB; export it in another transfer syntax",
                code="TOO_LARGE",
            )
