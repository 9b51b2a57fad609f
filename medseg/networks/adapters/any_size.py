"""A person's or another library's network, on images of any size; itself unchanged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medseg.networks.blocks.layers import crop, pad_to_multiple

HALVINGS = 4
"""Of an image, in MONAI's networks as they come."""
MULTIPLE = 2**HALVINGS
"""Voxels that images are padded to a multiple of."""


class AnySize(nn.Module):
    """Pads the image to a multiple of `MULTIPLE`, and crops the logits.

    Parameters
    ----------
    network : torch.nn.Module
        From ``image_BCIJK`` to ``logits_BLIJK``; a list or tuple of one in place of it, or while
        training of several: the first ones are taken for the final ones. It is used as it is.
    spatial_dims : int
        2 or 3.
    """

    def __init__(self, network: nn.Module, spatial_dims: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = (MULTIPLE,) * spatial_dims

    def forward(self, image_BCIJK: Tensor) -> Tensor | list[Tensor]:
        size = image_BCIJK.shape[2:]
        padded_BCIJK = pad_to_multiple(image_BCIJK, self.multiple)
        logits = self.network(padded_BCIJK)
        whole = padded_BCIJK.shape[2:]
        levels = list(logits) if isinstance(logits, list | tuple) else [logits]
        if whole != size:  # a coarser level covers the padding too, and has to keep its place
            levels[1:] = [_enlarged(level, whole) for level in levels[1:]]
        levels = [_cropped(level, whole, size) for level in levels]
        return levels[0] if len(levels) == 1 else levels


def _enlarged(logits: Any, whole: torch.Size) -> Any:
    """A coarser level on the voxels of the padded image."""
    mode = "trilinear" if len(whole) == 3 else "bilinear"
    return nn.functional.interpolate(logits, size=tuple(whole), mode=mode)


def _cropped(logits: Any, whole: torch.Size, size: torch.Size) -> Any:
    """Logits without the padding; what lies on another grid stays, for the trial to refuse."""
    if isinstance(logits, Tensor) and logits.shape[2:] == whole:
        return crop(logits, size)
    return logits
