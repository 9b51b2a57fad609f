"""Zip archives of DICOM: unpacked under names of our own into a folder that is removed again."""

from __future__ import annotations

import dataclasses
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from medseg.errors import ReadError
from medseg.reading.dicom.selection import choose
from medseg.reading.dicom.series import list_stacks, read_stack
from medseg.reading.error_context import in_file
from medseg.reading.policies import REFUSE, Policies
from medseg.runtime.progress import Progress
from medseg.volume import Scan

_START = b"PK\x03\x04"
_MOST_ENTRIES = 50_000
_MOST_BYTES = 8 << 30
_MOST_GROWTH = 100  # DICOM compresses 2 to 5 times; bombs 1000 times
_SMALL = 16 << 20  # bytes that may grow from anything
_MOST_DIRECTORY = 32 << 20
_CHUNK = 1 << 20


def recognises(path: Path) -> bool:
    """Whether `path` is called .zip and begins as one."""
    if not path.is_file() or path.suffix.lower() != ".zip":
        return False
    with path.open("rb") as file:
        return file.read(4) == _START


def read(path: Path, *, series: str | None, progress: Progress) -> Scan:
    """Read one stack of the DICOM files in an archive, as of a folder of them.

    The form is that of :class:`medseg.reading.protocol.ScanReader`. The provenance names the
    archive and no instances: to write DICOM SEG, unpack the archive and give the folder.

    Raises
    ------
    ReadError
        Code ``UNSAFE_ARCHIVE`` for links, passwords and paths that lead out of it, ``TOO_LARGE``
        for bombs; or as for a folder.
    SelectionError
        When it holds several stacks and `series` does not choose one.
    """
    return read_by_policy(path, series=series, policies=REFUSE, progress=progress)


def read_by_policy(
    path: Path, *, series: str | None, policies: Policies, progress: Progress
) -> Scan:
    """Read as :func:`read` does, and repair what the user allows.

    The form is that of :class:`medseg.reading.protocol.RepairingReader`.
    """
    with unpacked(path, progress=progress) as folder:
        stack, selection_notes = choose(list_stacks(folder, progress=progress), series, path)
        scan = read_stack(stack, policies=policies, progress=progress)
    note = "read from a zip archive: to write DICOM SEG, unpack it and give the folder"
    source = dataclasses.replace(
        scan.provenance,
        files=(path,),
        instance_uids=(),
        native=None,
        notes=(*scan.provenance.notes, *selection_notes, note),
    )
    return dataclasses.replace(scan, provenance=source)


@contextmanager
def unpacked(path: Path, *, progress: Progress, named: bool = False) -> Iterator[Path]:
    """A temporary folder with the archive's files, named 00000, 00001..., or as in the archive.

    Parameters
    ----------
    path : Path
    progress : Progress
    named : bool, default False
        Whether files keep their names and folders.

    Raises
    ------
    ReadError
        When the archive is damaged, unsafe or too large.
    """
    with tempfile.TemporaryDirectory(prefix="medseg-") as name:
        folder = Path(name, path.stem)  # named in messages
        folder.mkdir()
        with in_file(path), _as_read_error():
            _unpack_all(path, folder, progress, named=named)
        yield folder


@contextmanager
def _as_read_error() -> Iterator[None]:
    """Turn what zipfile raises into one `ReadError`."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ReadError(
            f"a damaged or unknown kind of zip archive ({type(error).__name__}); copy it again",
            code="DAMAGED",
        ) from error


def _unpack_all(path: Path, folder: Path, progress: Progress, *, named: bool) -> None:
    size = path.stat().st_size
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _check_entries(entries, size)
        budget = _allowance(size)
        for number, entry in enumerate(entries):
            target = folder / (entry.filename if named else f"{number:05d}")
            target.parent.mkdir(parents=True, exist_ok=True)
            budget -= _unpack(archive, entry, target, budget)
            progress(number + 1, len(entries), "unpacking")


def _allowance(size: int) -> int:
    """Bytes that an archive of `size` bytes may grow to."""
    return min(_MOST_BYTES, max(_SMALL, _MOST_GROWTH * size))


def _check_directory(path: Path) -> None:
    """Refuse archives whose list of entries alone would fill the memory.

    References
    ----------
    PKWARE APPNOTE 4.3.16, end of central directory record.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16) - 22))
        tail = file.read()
    record = tail.rfind(b"PK\x05\x06")
    if record < 0 or len(tail) < record + 22:
        raise zipfile.BadZipFile
    entries, length = struct.unpack("<HI", tail[record + 10 : record + 16])
    if length > _MOST_DIRECTORY or entries > _MOST_ENTRIES:
        raise _too_large()


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse what no export of DICOM files has; the sizes that are stated may still be lies."""
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        leads_out = parts.is_absolute() or ".." in parts.parts or ":" in entry.filename
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        if leads_out or is_link or entry.flag_bits & 1:
            raise ReadError(
                "holds a link, a password or a path that leads out of the archive; unpack it"
                " yourself and give the folder",
                code="UNSAFE_ARCHIVE",
            )
    if len(entries) > _MOST_ENTRIES or sum(e.file_size for e in entries) > _allowance(size):
        raise _too_large()


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: int) -> int:
    """Write one entry; its true size in bytes."""
    written = 0
    with archive.open(entry) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > budget:
                raise _too_large()
            file.write(chunk)
    return written


def _too_large() -> ReadError:
    return ReadError(
        f"more than {_MOST_ENTRIES} entries, or it grows more than {_MOST_GROWTH} times or beyond"
        f" {_MOST_BYTES >> 30} GiB; unpack it yourself and give the folder",
        code="TOO_LARGE",
    )
