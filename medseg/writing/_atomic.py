"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import WriteError


@contextmanager
def atomic(path: Path, *, suffix: str) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which takes its name when the block succeeds.

    Parameters
    ----------
    path : Path
        The final name; a file of that name stays untouched until the new one is complete.
    suffix : str
        Ending of the temporary name, such as ``".nii.gz"`` (libraries choose a format by it).

    Yields
    ------
    Path
        Write here, and check here; an exception removes it.

    Raises
    ------
    WriteError
        When the folder is missing, may not be written or is full.
    """
    if not path.parent.is_dir():
        raise WriteError(
            f"the folder '{path.parent}' does not exist; make it or choose another",
            code="NO_FOLDER",
        )
    try:
        with replaced(path, suffix=suffix) as temporary:
            yield temporary
    except OSError as error:
        raise _as_write_error(error, path) from error


@contextmanager
def replaced(path: Path, *, suffix: str) -> Iterator[Path]:
    """As :func:`atomic`, for callers with a message of their own for what the system says.

    Parameters
    ----------
    path : Path
    suffix : str

    Yields
    ------
    Path

    Raises
    ------
    OSError
        When it cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{suffix}")
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file; it appears whole or not at all.

    Parameters
    ----------
    path : Path
        Folders above it are made.
    content : bytes

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    WriteError
        When it cannot be written; an older file stays as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path, suffix=path.suffix) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise WriteError(
            f"cannot write '{path}': {error.strerror or error}; free some space or choose another"
            " place"
        ) from error
    return path


def write_text(path: Path, text: str) -> Path:
    """Write text as UTF-8; see :func:`write_bytes`."""
    return write_bytes(path, text.encode())


def flush_to_disk(path: Path) -> None:
    """Push a file, or a folder's list of names, to the disk (folders only where that exists)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_write_error(error: OSError, path: Path) -> WriteError:
    """One sentence for what the operating system said."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteError(
            f"the disk is full, so '{path}' was not written; free some space and try again",
            code="DISK_FULL",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return WriteError(
            f"'{path}' may not be written (permission denied); choose another folder",
            code="NO_PERMISSION",
        )
    reason = error.strerror or type(error).__name__
    return WriteError(f"'{path}' could not be written: {reason}; nothing was left behind")
