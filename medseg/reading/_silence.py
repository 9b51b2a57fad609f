"""Lines that libraries print themselves: what is worth saying is said by medseg's own errors."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Pass over what C++ code writes to the error stream; Python's own lines come before it."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no error stream at all
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def silence(logger: str) -> None:
    """Let a library's logger pass over its remarks; what it raises is translated."""
    logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
