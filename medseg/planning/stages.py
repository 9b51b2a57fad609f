"""The resolutions a patch passes through: what the planner gives to an architecture."""

from __future__ import annotations

import msgspec

Axes = tuple[int, ...]
"""One number for each spatial axis the network sees (2 or 3)."""


class Stages(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a patch is halved, axis by axis, until it is too small or too coarse to halve.

    Parameters
    ----------
    patch : tuple of int
        Voxels the network sees at once, along each of its axes.
    features : tuple of int
        Channels of each stage the budget allows, finest first.
    strides : tuple of tuple of int
        Step into each stage along each axis; the first is 1 everywhere.
    kernels : tuple of tuple of int
        Kernel size of each stage along each axis: 1 along an axis that is still too coarse.
    """

    patch: Axes
    features: tuple[int, ...]
    strides: tuple[Axes, ...]
    kernels: tuple[Axes, ...]

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.patch)
