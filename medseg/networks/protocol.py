"""What a file of this room offers; the contract suite checks it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn


class Architecture(Protocol):
    """A module of ``medseg.networks``.

    Parameters
    ----------
    Settings : type
        A frozen `msgspec.Struct` with defaults: what a plan may choose.
    """

    Settings: type[Any]

    def build(
        self, settings: Any, *, spatial_dims: int, in_channels: int, out_channels: int
    ) -> nn.Module:
        """A freshly initialised network."""
