"""Progress in words."""

from __future__ import annotations

from medseg_napari.jobs import Progress


def describe(progress: Progress, elapsed_s: float) -> str:
    """What is done, how far, how long still: ``"segmenting: 7 of 48, about 12 s left"``."""
    if progress.total <= 1:
        return progress.message
    text = f"{progress.message}: {progress.done} of {progress.total}"
    if progress.done == 0:
        return text
    left_s = elapsed_s / progress.done * (progress.total - progress.done)
    return f"{text}, about {duration(left_s)} left"


def duration(seconds: float) -> str:
    """A duration as people say it, such as ``"1 s"``, ``"40 s"`` or ``"3 min"``."""
    return f"{max(seconds, 1):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
