"""How a run is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medseg.metrics.scores import mean_named
from medseg.volume.label_table import MEAN
from medseg_napari.progress_text import duration

if TYPE_CHECKING:
    from medseg.training.run_status import RunStatus


def status_text(status: RunStatus) -> str:
    """Step, loss, Dice and time of a run, such as ``"step 120 of 400, loss 0.43, 2 min left"``."""
    if status.phase == "absent":
        return ""
    parts = [
        f"step {status.step} of {status.total_steps}"
        if status.total_steps
        else f"step {status.step}"
    ]
    if status.phase == "running" and not status.losses:
        parts = ["looking at the scans and preparing them"]
    if status.losses:
        parts.append(f"loss {status.losses[-1][1]:.3f}")
    if status.dice and status.dice[-1][1].get(MEAN) is not None:
        parts.append(f"Dice {status.dice[-1][1][MEAN]:.3f}")
    left_s = seconds_left(status)
    if status.phase == "running" and left_s:
        parts.append(f"about {duration(left_s)} left")
    return f"{status.phase}: {', '.join(parts)}"


def seconds_left(status: RunStatus) -> float:
    """Time until the last step, by the speed so far; 0 where that cannot be told."""
    if status.step <= 0:
        return 0.0
    if status.total_steps:
        return status.seconds / status.step * max(status.total_steps - status.step, 0)
    minutes = status.options.minutes or 0.0
    return max(minutes * 60 - status.seconds, 0.0)


def finished_text(name: str, status: RunStatus, scores: Mapping[str, float]) -> str:
    """What became of a run, with the score of the model it started from beside its own."""
    text = f"{name} is in the list of models"
    mean = mean_named(scores).get(MEAN)
    if mean is None:
        return text
    text += f": mean Dice {mean:.3f} on held-out cases"
    before = next((row.get(MEAN) for step, row in status.dice if step == 0), None)
    return text if before is None else f"{text}, {before:.3f} before"
