"""A 2-D network on volumes, slice by slice: one axis of the patch is a single voxel wide."""

from __future__ import annotations

from torch import Tensor, nn


class SliceWise(nn.Module):
    """Drop the axis across the slices, apply a 2-D network, put the axis back.

    Parameters
    ----------
    network : torch.nn.Module
        From ``image_BCIJ`` to ``logits_BLIJ`` (a list of them while training, perhaps).
    axis : int
        Spatial axis, 0 to 2, along which ``image_BCIJK`` has one voxel.
    """

    def __init__(self, network: nn.Module, axis: int) -> None:
        super().__init__()
        self.network = network
        self.axis = axis + 2

    def forward(self, image_BCIJK: Tensor) -> Tensor | list[Tensor]:
        logits = self.network(image_BCIJK.squeeze(self.axis))
        if isinstance(logits, list):
            return [level.unsqueeze(self.axis) for level in logits]
        volume: Tensor = logits.unsqueeze(self.axis)
        return volume
