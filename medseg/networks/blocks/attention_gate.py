"""Attention gates (Oktay et al., Attention U-Net, MIDL 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.networks.blocks.layers import Axes, pointwise


class AttentionGate(nn.Module):
    """Weigh the voxels of a skip by what the coarser stage has found.

    Parameters
    ----------
    skip : int
    gating : int
        Channels of the coarser stage.
    step : tuple of int
        Steps between the two along each axis.

    Notes
    -----
    ``forward`` takes ``skip_BCIJK`` and ``gating_BCIJK``, `step` times smaller, and gives the
    skip times a weight in 0..1 for each voxel: additive attention, equations 1 and 2 of the paper.
    """

    def __init__(self, skip: int, gating: int, step: Axes) -> None:
        super().__init__()
        dims, width = len(step), max(skip // 2, 1)
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        self.of_skip = conv(skip, width, step, stride=step, bias=False)  # type: ignore[arg-type]
        self.of_gating = pointwise(gating, width, dims)
        self.weight = pointwise(width, 1, dims)
        self.mode = "trilinear" if dims == 3 else "bilinear"

    def forward(self, skip_BCIJK: Tensor, gating_BCIJK: Tensor) -> Tensor:
        joint = torch.relu(self.of_skip(skip_BCIJK) + self.of_gating(gating_BCIJK))
        weight = torch.sigmoid(self.weight(joint))
        size = skip_BCIJK.shape[2:]
        return skip_BCIJK * nn.functional.interpolate(weight, size, mode=self.mode)
