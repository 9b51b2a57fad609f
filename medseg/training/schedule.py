"""How the learning rate moves: a short rise, then a polynomial or a cosine fall."""

from __future__ import annotations

import math

from medseg.training.recipe import Recipe

POWER = 0.9


def learning_rate(step: int, total: int, peak: float, recipe: Recipe) -> float:
    """Learning rate of a step.

    Parameters
    ----------
    step : int
        From 0.
    total : int
    peak : float
        Largest learning rate, reached after the rise.
    recipe : Recipe
        Steps of the rise (fewer in a short run), form of the fall, and what is left at its end.

    References
    ----------
    ``poly`` is nnU-Net's ``(1 - step / total) ** 0.9`` (Isensee et al., 2021), ``cosine`` half a
    period (Loshchilov and Hutter, arXiv:1608.03983, 2017).
    """
    rise = min(1.0, (step + 1) / min(recipe.warm_up_steps, max(total // 10, 1)))
    done = min(step / total, 1.0)
    fall = (1 - done) ** POWER if recipe.schedule == "poly" else (1 + math.cos(math.pi * done)) / 2
    return float(peak * rise * (recipe.final_share + (1 - recipe.final_share) * fall))
