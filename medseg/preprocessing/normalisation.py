"""Intensities as the network wants them, one rule of the plan for each channel."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from medseg.planning.plan import Normalisation
from medseg.preprocessing.transforms import ForKeys
from medseg.volume.bounding_box import nonzero

LEAST_STD = 1e-6
_WHITE = 255.0


class PlannedNormalisation(Transform):  # type: ignore[misc]
    """Turn intensities into network input, one rule for each channel; not undone.

    Parameters
    ----------
    rules : tuple of Normalisation
    nonzero : bool, default False
        Whether to apply the rules for voxels that are not 0, before resampling makes their
        neighbours others than 0, instead of all other rules.
    enclosed : bool, default False
        Whether those voxels are the ones that are not 0 in some channel, and what they enclose,
        instead of those of each channel.
    """

    def __init__(
        self, rules: tuple[Normalisation, ...], *, nonzero: bool = False, enclosed: bool = False
    ) -> None:
        self.rules = rules
        self.nonzero = nonzero
        self.enclosed = enclosed

    def __call__(self, data: Tensor) -> Tensor:
        """Normalise ``data`` to float32."""
        out = data.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        channels = out.as_tensor() if isinstance(out, MetaTensor) else out
        body = _body(channels) if self.nonzero and self.enclosed else None
        for channel, rule in zip(channels, self.rules, strict=True):
            if rule.nonzero != self.nonzero:
                continue
            if self.nonzero:
                mask = channel != 0 if body is None else body
                channel[mask] = _standardised(channel[mask])
            else:
                _normalise(channel, rule)
        return out


class PlannedNormalisationd(ForKeys):
    """`PlannedNormalisation` for dictionaries."""

    array = PlannedNormalisation


def _body(channels: Tensor) -> Tensor:
    """Voxels that are not 0 in some channel, or that such enclose; shape (I, J, K)."""
    return torch.from_numpy(binary_fill_holes(nonzero(channels.numpy())))


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
    elif rule.scheme == "rgb01":
        mean, std = 0.0, _WHITE
    else:
        mean = float(channel.min())
        std = float(channel.max()) - mean
    channel.sub_(mean).div_(max(std, LEAST_STD))


def _standardised(values: Tensor) -> Tensor:
    """Values less their mean, in their standard deviations; in place."""
    if not values.numel():
        return values
    std = float(values.std(correction=0))
    return values.sub_(float(values.mean(dtype=torch.float64))).div_(max(std, LEAST_STD))
