"""The state of a run on disk: one safetensors file, replaced atomically, never a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from medseg.errors import ReadError, WriteError, reason
from medseg.training.state import State
from medseg.training.weight_average import PREFIX, WeightAverage
from medseg.writing import replaced


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: Optimizer,
    state: State,
    average: WeightAverage | None = None,
) -> None:
    """Write network, optimiser and numbers; `path` is the old one or the new one, never a part.

    Parameters
    ----------
    path : Path
    network : torch.nn.Module
    optimizer : torch.optim.Optimizer
    state : State
    average : WeightAverage, optional
        Of the network's weights.

    Raises
    ------
    WriteError
        When the disk does not take it.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    if average is not None:
        tensors |= average.tensors()
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with replaced(path, suffix=".tmp") as temporary:
            save_file(plain, temporary, metadata={"state": msgspec.json.encode(state).decode()})
    except (OSError, SafetensorError) as error:  # the latter hides what the disk said
        raise WriteError(
            f"cannot write the checkpoint '{path}': {reason(error)}; the one before it is kept"
        ) from error


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: Optimizer, average: WeightAverage | None = None
) -> State:
    """Put a saved state back into `network`, `optimizer` and `average`.

    Raises
    ------
    ReadError
        When the file is damaged or of another network.
    """
    state, tensors = _load(path, network)
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under("optimizer.", tensors).items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    content: dict[str, Any] = optimizer.state_dict()
    optimizer.load_state_dict({"state": slots, "param_groups": content["param_groups"]})
    if average is not None:
        average.load(tensors)
    return state


def load_network(path: Path, network: nn.Module) -> State:
    """Put what is measured and packed into `network`: the mean of its weights where there is one.

    Raises
    ------
    ReadError
        When the file is damaged or of another network.
    """
    state, tensors = _load(path, network)
    network.load_state_dict(_under(PREFIX, tensors), strict=False)
    return state


def _load(path: Path, network: nn.Module) -> tuple[State, dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as stored:
            state = msgspec.json.decode(stored.metadata()["state"], type=State)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        network.load_state_dict(_under("network.", tensors))
    except Exception as error:
        raise ReadError(f"checkpoint '{path}' cannot be resumed from: {error}") from error
    return state, tensors


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
