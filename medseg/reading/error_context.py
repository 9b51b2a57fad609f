"""Messages that say which file was wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import InputError


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Put the file's name in front of the message of any `InputError` raised inside."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{path.name}: {error}", code=error.code) from error
