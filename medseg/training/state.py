"""How far a run is: the numbers of its checkpoint, read without torch."""

from __future__ import annotations

from pathlib import Path

import msgspec


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers of a run besides its tensors.

    Parameters
    ----------
    step : int
    total_steps : int
        Steps in all; the learning-rate schedule hangs on it.
    seconds : float
    """

    step: int
    total_steps: int
    seconds: float


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
