"""Processing of bioimage.io as its specification gives it, and labels of channels.

https://github.com/bioimage-io/spec-bioimage-io, ``docs``: preprocessing and postprocessing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Settings = dict[str, Any]
Step = Callable[[Tensor, Tensor, Settings], Tensor]
"""Takes the tensor (C, ...), the scan as it came, and the settings."""


def _along_channels(values: Any, like: Tensor) -> Tensor:
    """A number, or one for each channel, that multiplies a tensor (C, ...)."""
    tensor = torch.as_tensor(values, dtype=torch.float32)
    return tensor.reshape(-1, *(1,) * (like.ndim - 1)) if tensor.ndim else tensor


def _axes(tensor: Tensor, settings: Settings) -> tuple[int, ...]:
    """Those that a statistic is over: of space, and the channels unless each has its own."""
    return tuple(range(1 if settings.get("by_channel") else 0, tensor.ndim))


def _quantile(tensor: Tensor, percent: float, axes: tuple[int, ...]) -> Tensor:
    # numpy: torch refuses more than 16 million values
    return torch.as_tensor(np.percentile(tensor.numpy(), percent, axis=axes, keepdims=True))


def binarize(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """1 where above the threshold, else 0."""
    return (tensor > _along_channels(settings["threshold"], tensor)).float()


def clip(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """Not below ``min``, not above ``max``."""
    return tensor.clamp(settings.get("min"), settings.get("max"))


def ensure_dtype(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """Rounded towards 0 for whole numbers; the tensor stays float32."""
    dtype = str(settings["dtype"])
    return tensor if dtype.startswith("float") else tensor.to(getattr(torch, dtype)).float()


def fixed_zero_mean_unit_variance(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """(x - mean) / std, of numbers that the model gives."""
    mean, std = (_along_channels(settings[name], tensor) for name in ("mean", "std"))
    return (tensor - mean) / std


def scale_linear(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """Gain times x plus offset."""
    gain = _along_channels(settings.get("gain", 1.0), tensor)
    return gain * tensor + _along_channels(settings.get("offset", 0.0), tensor)


def scale_mean_variance(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """With the mean and standard deviation of the scan as it came."""
    eps = settings.get("eps", 1e-6)
    own, others = _axes(tensor, settings), _axes(scan, settings)
    shape = (1,) * tensor.ndim if not settings.get("by_channel") else None
    mean, std = scan.mean(others, keepdim=True), scan.std(others, correction=0, keepdim=True)
    if shape is not None:
        mean, std = mean.reshape(shape), std.reshape(shape)
    scaled = tensor - tensor.mean(own, keepdim=True)
    share: Tensor = (std + eps) / (tensor.std(own, correction=0, keepdim=True) + eps)
    return scaled * share + mean


def scale_range(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """(x - low) / (high - low + eps), of two percentiles."""
    axes = _axes(tensor, settings)
    low = _quantile(tensor, settings.get("min_percentile", 0.0), axes)
    high = _quantile(tensor, settings.get("max_percentile", 100.0), axes)
    eps: float = settings.get("eps", 1e-6)
    return (tensor - low) / (high - low + eps)


def zero_mean_unit_variance(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """(x - mean) / (std + eps), of the tensor itself."""
    axes = _axes(tensor, settings)
    std = tensor.std(axes, correction=0, keepdim=True)
    eps: float = settings.get("eps", 1e-6)
    return (tensor - tensor.mean(axes, keepdim=True)) / (std + eps)


def foreground(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """All channels but the first."""
    return tensor[1:]


def overlay(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """The value of the first pair (channel, value) whose channel is above 0; shape (1, ...)."""
    labels = torch.zeros_like(tensor[:1])
    for channel, value in reversed(settings["order"]):
        labels[tensor[[channel]] > 0] = value
    return labels


def largest_above(tensor: Tensor, scan: Tensor, settings: Settings) -> Tensor:
    """The number of the largest channel, from 1, where it is above the threshold; (1, ...)."""
    value, index = tensor.max(0, keepdim=True)
    return torch.where(value > settings["threshold"], index + 1, 0)


STEPS: dict[str, Step] = {
    "Foreground": foreground,
    "LargestAbove": largest_above,
    "Overlay": overlay,
    "binarize": binarize,
    "clip": clip,
    "ensure_dtype": ensure_dtype,
    "fixed_zero_mean_unit_variance": fixed_zero_mean_unit_variance,
    "scale_linear": scale_linear,
    "scale_mean_variance": scale_mean_variance,
    "scale_range": scale_range,
    "sigmoid": lambda tensor, scan, settings: tensor.sigmoid(),
    "softmax": lambda tensor, scan, settings: tensor.softmax(0),
    "zero_mean_unit_variance": zero_mean_unit_variance,
}
"""By the names of a chain."""
