"""The transforms MONAI has not, or has slower: separable resampling, planned normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from medseg.planning.plan import Normalisation
from medseg.volume.grid import Grid
from medseg.volume.resampling import resample, resample_labels, resized, shape_for_spacing


class SeparableSpacing(Transform):  # type: ignore[misc]
    """Bring a `MetaTensor` to a spacing, edges aligned; 5 to 12 times faster than MONAI's Spacing.

    Parameters
    ----------
    spacing_mm : tuple of float
        Along the tensor's spatial axes.
    labels : bool, default False
        Whether the tensor holds labels (then the largest interpolated mask wins) instead of
        intensities (cubic spline).
    """

    def __init__(self, spacing_mm: tuple[float, float, float], *, labels: bool = False) -> None:
        self.spacing_mm = spacing_mm
        self.labels = labels

    def __call__(self, data: MetaTensor) -> MetaTensor:
        """Resample ``data`` of shape (C, I, J, K)."""
        before = Grid(tuple(data.shape[1:]), np.asarray(data.affine, np.float64))
        shape = shape_for_spacing(before, self.spacing_mm)
        after = resized(before, shape)
        array = np.asarray(data)
        if self.labels:
            values = np.stack([resample_labels(channel, shape) for channel in array])
        else:
            values = resample(array, shape, order=3)
        return MetaTensor(torch.from_numpy(values), affine=torch.tensor(after.affine))


class PlannedNormalisation(Transform):  # type: ignore[misc]
    """Turn intensities into network input, one rule for each channel."""

    def __init__(self, rules: tuple[Normalisation, ...]) -> None:
        self.rules = rules

    def __call__(self, data: Any) -> Any:
        """Normalise ``data`` of shape (C, I, J, K) to float32."""
        out = data.to(torch.float32, copy=True)
        for channel, rule in zip(out, self.rules, strict=True):
            _normalise(channel, rule)
        return out


def _normalise(channel: torch.Tensor, rule: Normalisation) -> None:
    """Apply one rule in place."""
    if rule.scheme == "none":
        return
    if rule.scheme == "clip_zscore":
        channel.clamp_(rule.low, rule.high)
        mean, std = rule.mean, rule.std
    else:
        mean, std = float(channel.mean(dtype=torch.float64)), float(channel.std())
    channel.sub_(mean).div_(max(std, 1e-6))
