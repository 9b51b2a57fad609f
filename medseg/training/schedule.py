"""How the learning rate moves: a short rise, then a polynomial fall to zero."""

from __future__ import annotations

WARM_UP = 40
POWER = 0.9


def learning_rate(step: int, total: int, peak: float) -> float:
    """Learning rate of a step.

    Parameters
    ----------
    step : int
        From 0.
    total : int
    peak : float
        Largest learning rate, reached after `WARM_UP` steps (fewer in a short run).

    References
    ----------
    The fall is nnU-Net's ``(1 - step / total) ** 0.9`` (Isensee et al., 2021).
    """
    rise = min(1.0, (step + 1) / min(WARM_UP, max(total // 10, 1)))
    fall = max(0.0, 1 - step / total) ** POWER
    return float(peak * rise * fall)
