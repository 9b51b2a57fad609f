"""How many steps and validations fit into the minutes of a run."""

from __future__ import annotations

from dataclasses import dataclass

CALIBRATION = (5, 50)
"""Steps that warm up, and steps after which the speed is known."""
CALIBRATION_SHARE = 0.05
"""Share of the minutes after which fewer steps must do."""
VALIDATION_SHARE = 0.2
"""Most of the time left that validations on the way may take; they are fewer where it is slow."""
USED_SHARE = 0.97
"""Share of the time left that is planned; the rest is for what nobody measures, as checkpoints."""


@dataclass
class StepTimer:
    """The speed of the first steps, without those that warm up.

    Parameters
    ----------
    seconds : float
        Time of the whole run.
    """

    seconds: float
    _from: tuple[int, float] = (0, 0.0)

    def seconds_per_step(self, step: int, elapsed: float) -> float | None:
        """Seconds that a step takes; None while that is not known.

        Parameters
        ----------
        step : int
            Done so far; to be called after each.
        elapsed : float
            Seconds.
        """
        first, last = CALIBRATION
        is_slow = elapsed > CALIBRATION_SHARE * self.seconds
        if step <= first and not (is_slow and step > 1):
            self._from = (step, elapsed)
            return None
        if step < last and not is_slow:
            return None
        start, since = self._from
        return (elapsed - since) / (step - start)


def fitting(
    left: float, *, per_step: float, per_validation: float, validations: int, final: float
) -> tuple[int, int]:
    """Steps that fit into what is left of a run, and validations on the way.

    Parameters
    ----------
    left : float
        Seconds.
    per_step, per_validation : float
        Seconds that one takes.
    validations : int
        As many as were asked for, before the last step.
    final : float
        Seconds of the last validation and of measuring at the end, which are always made.

    Returns
    -------
    steps, validations : int
        At least one step.
    """
    free = max(left * USED_SHARE - final, 0.0)
    if per_validation > 0:
        validations = min(validations, int(VALIDATION_SHARE * free / per_validation))
    steps = int((free - validations * per_validation) / max(per_step, 1e-6))
    return max(steps, 1), validations
