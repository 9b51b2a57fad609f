"""Intensities brought back to the mean and spread they had."""

from __future__ import annotations

from torch import Tensor

from medseg.augmentation._ranges import spatial_axes


def with_statistics_of(before: Tensor, after: Tensor) -> Tensor:
    """A batch `after` (B, C, ...) with the mean and standard deviation of each channel of `before`.

    Of the whole patch, uncorrected: a patch of one voxel has no corrected deviation.
    """
    axes = spatial_axes(before)
    mean, std = (before.mean(axes, keepdim=True), before.std(axes, correction=0, keepdim=True))
    after = after - after.mean(axes, keepdim=True)
    return after / (after.std(axes, correction=0, keepdim=True) + 1e-8) * std + mean
