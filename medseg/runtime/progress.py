"""Progress and cancel: one small callable that long work calls and the caller passes in."""

from __future__ import annotations

from typing import Protocol


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


def silent(done: int, total: int, message: str, /) -> None:
    """Show nothing and never cancel."""
