"""How long a run has been trained."""

from __future__ import annotations

import time

from medseg.training.budget import StepTimer


class RunClock:
    """Seconds a run has been trained, over all its starts.

    Parameters
    ----------
    before : float
        Those of earlier starts.
    """

    def __init__(self, before: float) -> None:
        self.before = before
        self.start = time.monotonic() - before
        self._timer: StepTimer | None = None
        self.mark()

    @property
    def seconds(self) -> float:
        """Of all starts."""
        return time.monotonic() - self.start

    def since_start(self) -> float:
        """Seconds of this start."""
        return self.seconds - self.before

    def timer(self, whole: float) -> StepTimer:
        """The speed of the first steps of a run that lasts `whole` seconds."""
        self._timer = self._timer or StepTimer(whole)
        return self._timer

    def mark(self) -> None:
        """Remember this moment."""
        self._marked = time.monotonic()

    def since_mark(self) -> float:
        """Seconds since `mark` was called."""
        return time.monotonic() - self._marked
