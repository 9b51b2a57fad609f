"""Intensities as the network wants them, one rule of the plan for each channel."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from medseg.planning.plan import Normalisation
from medseg.preprocessing.transforms import ForKeys

LEAST_STD = 1e-6


class PlannedNormalisation(Transform):  # type: ignore[misc]
    """Turn intensities into network input, one rule for each channel; not undone.

    Parameters
    ----------
    rules : tuple of Normalisation
    nonzero : bool, default False
        Whether to apply the rules for voxels that are not 0, before resampling makes their
        neighbours others than 0, instead of all other rules.
    """

    def __init__(self, rules: tuple[Normalisation, ...], *, nonzero: bool = False) -> None:
        self.rules = rules
        self.nonzero = nonzero

    def __call__(self, data: Tensor) -> Tensor:
        """Normalise ``data`` to float32."""
        out = data.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        channels = out.as_tensor() if isinstance(out, MetaTensor) else out
        for channel, rule in zip(channels, self.rules, strict=True):
            if rule.nonzero != self.nonzero:
                continue
            if self.nonzero:
                mask = channel != 0
                channel[mask] = _standardised(channel[mask])
            else:
                _normalise(channel, rule)
        return out


class PlannedNormalisationd(ForKeys):
    """`PlannedNormalisation` for dictionaries."""

    array = PlannedNormalisation


def _normalise(channel: Tensor, rule: Normalisation) -> None:
    """Apply one rule in place."""
    if rule.scheme == "none":
        return
    if rule.scheme == "zscore":
        _standardised(channel)
        return
    if rule.scheme == "clip_zscore":
        channel.clamp_(rule.low, rule.high)
        mean, std = rule.mean, rule.std
    else:
        mean = float(channel.min())
        std = float(channel.max()) - mean
    channel.sub_(mean).div_(max(std, LEAST_STD))


def _standardised(values: Tensor) -> Tensor:
    """Values less their mean, in their standard deviations; in place."""
    if not values.numel():
        return values
    std = float(values.std()) if values.numel() > 1 else 0.0
    return values.sub_(float(values.mean(dtype=torch.float64))).div_(max(std, LEAST_STD))
