"""How a run is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medseg_napari.progress_text import duration

if TYPE_CHECKING:
    from medseg.training.run_status import RunStatus


def state_words(view: RunStatus) -> str:
    """Step, loss, Dice and time of a run, such as ``"step 120 of 400, loss 0.43, 2 min left"``."""
    if view.phase == "absent":
        return ""
    parts = [f"step {view.step} of {view.total_steps}" if view.total_steps else f"step {view.step}"]
    if view.phase == "running" and not view.losses:
        parts = ["looking at the scans and preparing them"]
    if view.losses:
        parts.append(f"loss {view.losses[-1][1]:.3f}")
    if view.dice and view.dice[-1][1].get("foreground") is not None:
        parts.append(f"Dice {view.dice[-1][1]['foreground']:.3f}")
    left_s = seconds_left(view)
    if view.phase == "running" and left_s:
        parts.append(f"about {duration(left_s)} left")
    return f"{view.phase}: {', '.join(parts)}"


def seconds_left(view: RunStatus) -> float:
    """Time until the last step, by the speed so far; 0 where that cannot be told."""
    if view.step <= 0:
        return 0.0
    if view.total_steps:
        return view.seconds / view.step * max(view.total_steps - view.step, 0)
    minutes = view.options.minutes or 0.0
    return max(minutes * 60 - view.seconds, 0.0)


def score_words(name: str, view: RunStatus, scores: Mapping[str, float]) -> str:
    """What became of a run, with the score of the model it started from beside its own."""
    words = f"{name} is in the list of models"
    if "foreground" not in scores:
        return words
    words += f": mean Dice {scores['foreground']:.3f} on held-out cases"
    before = next((row.get("foreground") for step, row in view.dice if step == 0), None)
    return words if before is None else f"{words}, {before:.3f} before"
