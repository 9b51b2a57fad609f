"""A training whose loss became no number: what is said, and from where it can go on."""

from __future__ import annotations

import shutil
from pathlib import Path

from medseg.errors import MedsegError
from medseg.training.run_status import BEST, CHECKPOINT
from medseg.training.state import State, read_state

LOWER = 4
"""By how much the learning rate is lowered that is advised."""


def divergence_error(
    what: str, *, loss: str, step: int, rate: float, peak: float, standard: float, kept: int | None
) -> MedsegError:
    """The error of a step that no optimiser should take.

    Parameters
    ----------
    what : str
        That happened to the loss.
    loss : str
        Its name.
    step : int
        From 1.
    rate, peak : float
        Learning rate at that step, and at its peak.
    standard : float
        Peak where nobody says anything; no higher one is advised.
    kept : int or None
        Steps of the checkpoint to go on from.
    """
    advice = (
        "start another run with"
        if kept is None
        else f"the first {kept} steps are kept: go on from there with --resume and"
    )
    return MedsegError(
        f"the loss '{loss}' {what} at step {step}, where the learning rate was {rate:.3g}; {advice}"
        f" a --learning-rate below {peak:g}, such as {min(peak / LOWER, standard):.2g}, or check"
        " the scans for extreme intensities and the plan's normalisation",
        code="DIVERGED",
    )


def last_good(run: Path, state: State, *, started: int, failed: int) -> int | None:
    """Steps of the checkpoint to go on from; None when there is none that led elsewhere.

    One that this start went on from and that failed at once is no good: the best one takes its
    place, if that is older.

    Parameters
    ----------
    run : Path
    state : State
    started : int
        Steps of the checkpoint that this start went on from.
    failed : int
        Steps before the one that failed.
    """
    checkpoint = run / CHECKPOINT
    if not checkpoint.is_file():
        return None
    if started and failed == started:
        if not 0 < state.best_step < failed:
            return None
        shutil.copyfile(run / BEST, checkpoint)
    kept = read_state(checkpoint)
    return kept.step if kept else None
