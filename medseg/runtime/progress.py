"""Progress and cancel: one small callable that long work calls and the caller passes in."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Called by long work after each step; raising `medseg.errors.Cancelled` stops the work.

    Parameters
    ----------
    done : int
    total : int
        Steps in all; may grow.
    message : str
        What is being done, for a person; no patient data.
    """

    def __call__(self, done: int, total: int, message: str, /) -> None: ...  # noqa: D102


@runtime_checkable
class LineProgress(Protocol):
    """A `Progress` that shows what is to be read, and not only what is being done."""

    def tell(self, sentence: str, /) -> None: ...  # noqa: D102


def tell(progress: Progress, sentence: str) -> None:
    """Say something to be read once: as a line where `progress` has them, else as its message."""
    if isinstance(progress, LineProgress):
        progress.tell(sentence)
    else:
        progress(0, 1, sentence)


def silent(done: int, total: int, message: str, /) -> None:
    """Show nothing and never cancel."""
