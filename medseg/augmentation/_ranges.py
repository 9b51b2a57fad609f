"""Ranges in settings, and numbers drawn from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

Range = tuple[float, float]
"""Least and most; drawn evenly between."""

Probability = Annotated[float, Meta(ge=0, le=1)]


def check_range(
    name: str, values: Sequence[float], *, least: float = -math.inf, most: float = math.inf
) -> None:
    """Raise `ValueError` in one sentence when a range falls, or leaves `least`..`most`."""
    low, high = values
    if not least <= low <= high <= most or math.isinf(low) or math.isinf(high):
        raise ValueError(
            f"{name} must be two finite numbers that do not fall, in {least:g}..{most:g}, got"
            f" {low:g} and {high:g}"
        )


def uniform(generator: torch.Generator, size: Sequence[int], values: Sequence[float]) -> Tensor:
    """Numbers evenly between the two `values`."""
    low, high = values
    return low + (high - low) * torch.rand(
        tuple(size), generator=generator, device=generator.device
    )


def integers(generator: torch.Generator, size: Sequence[int], values: Sequence[int]) -> Tensor:
    """Whole numbers from the first to the last of `values`."""
    low, high = values
    return torch.randint(low, high + 1, tuple(size), generator=generator, device=generator.device)


def on_device(numbers: Tensor, device: torch.device) -> Tensor:
    """Numbers of the host on a device, without waiting for what is queued there."""
    if device.type == "cuda" and not numbers.is_cuda:
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)


def expand_to(numbers: Tensor, batch: Tensor) -> Tensor:
    """Numbers of the leading axes, shaped so that they apply to the whole of `batch`."""
    return numbers.reshape(*numbers.shape, *(1,) * (batch.dim() - numbers.dim()))


def spatial_axes(image: Tensor) -> tuple[int, ...]:
    """Axes of an image (B, C, ...) after the channels."""
    return tuple(range(2, image.dim()))
