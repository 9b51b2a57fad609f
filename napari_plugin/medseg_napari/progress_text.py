"""Progress in words."""

from __future__ import annotations

from medseg_napari.jobs import Progress


def describe(progress: Progress, elapsed_s: float) -> str:
    """What is being done, how far it is and how long it will take.

    Parameters
    ----------
    progress : Progress
    elapsed_s : float
        Seconds since the first step.

    Returns
    -------
    str
        Such as ``"segmenting: 7 of 48, about 12 s left"``.
    """
    if progress.total <= 1:
        return progress.message
    words = f"{progress.message}: {progress.done} of {progress.total}"
    if progress.done == 0:
        return words
    left_s = elapsed_s / progress.done * (progress.total - progress.done)
    return f"{words}, about {duration(left_s)} left"


def duration(seconds: float) -> str:
    """A duration as people say it, such as ``"40 s"`` or ``"3 min"``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
