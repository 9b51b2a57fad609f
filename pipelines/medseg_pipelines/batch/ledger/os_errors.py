"""What the disk refuses, as one sentence with a code that a run can act upon."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import WriteError

DISK_FULL = "DISK_FULL"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def trouble_told(place: Path) -> Iterator[None]:
    """Turn what the system says of a place for results into a `WriteError`.

    Parameters
    ----------
    place : Path
        Named in the sentence; its name must be one of ours.

    Raises
    ------
    WriteError
        ``DISK_FULL`` when there is no room, ``NO_PERMISSION`` when it may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise WriteError(
                f"the disk of '{place}' is full; free some space and run the same command again",
                code=DISK_FULL,
            ) from error
        code = "NO_PERMISSION" if error.errno in _CLOSED else "WRITE"
        reason = error.strerror or type(error).__name__
        raise WriteError(
            f"cannot write into '{place}': {reason}; choose another output folder", code=code
        ) from error
