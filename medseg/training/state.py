"""How far a run is: the numbers of its checkpoint, read without torch."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import structs


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers of a run besides its tensors.

    Parameters
    ----------
    step : int
    total_steps : int
        Steps in all; the learning-rate schedule hangs on it.
    seconds : float
    validations : int or None
        On the way, the end included; None: as the options say.
    best_step : int
        With the best mean Dice on the way; 0 before the first validation.
    best_dice : float or None
    stale : int
        Validations since then.
    ended : bool
        Whether the run ended before its last step, as it was to.
    rates : tuple of (int, float)
        Peak learning rates, each with the number of steps before it.
    """

    step: int
    total_steps: int
    seconds: float
    validations: int | None = None
    best_step: int = 0
    best_dice: float | None = None
    stale: int = 0
    ended: bool = False
    rates: tuple[tuple[int, float], ...] = ()

    def compared(self, dice: float) -> State:
        """The state after a validation at its step."""
        if self.best_dice is None or dice > self.best_dice:
            return structs.replace(self, best_step=self.step, best_dice=dice, stale=0)
        return structs.replace(self, stale=self.stale + 1)


def read_state(checkpoint: Path) -> State | None:
    """Numbers of a checkpoint file; None when there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    if not checkpoint.is_file():
        return None
    try:
        with safe_open(checkpoint, framework="numpy") as stored:
            return msgspec.json.decode(stored.metadata()["state"], type=State)
    except (OSError, SafetensorError, KeyError, TypeError, msgspec.DecodeError):
        return None
