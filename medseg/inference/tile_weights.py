"""How overlapping tiles are weighed: most in the middle, where the network sees all around."""

from __future__ import annotations

import torch
from torch import Tensor

_NNUNET_LARGEST = 10.0


def nnunet_gaussian(tile: tuple[int, int, int], device: torch.device) -> Tensor:
    """Weights of a tile's voxels as nnU-Net v2 rounds them.

    The Gaussian's middle is a voxel, and it is stored in half precision, as are the sums of tiles
    that it weighs; what is 0 there takes the least of the other weights.

    Returns
    -------
    weight_IJK : torch.Tensor
        float16, largest 10.
    """
    i, j, k = (_profile(n, n // 2) for n in tile)
    weight = i[:, None, None] * j[None, :, None] * k[None, None, :]
    halved = (_NNUNET_LARGEST * weight).half()
    return halved.masked_fill(halved == 0, float(halved[halved > 0].min())).to(device)


def gaussian(tile: tuple[int, int, int], device: torch.device) -> Tensor:
    """Weights of a tile's voxels: a Gaussian with sigma = tile / 8 along each axis.

    Returns
    -------
    weight_IJK : torch.Tensor
        float32, largest 1, nowhere below 1e-4 so that no voxel is lost.

    References
    ----------
    Isensee et al., nnU-Net, Nature Methods 18, 2021, online methods.
    """
    i, j, k = (_profile(n, (n - 1) / 2) for n in tile)
    weight = i[:, None, None] * j[None, :, None] * k[None, None, :]
    return weight.clamp_min(1e-4).to(device)


def _profile(count: int, middle: float) -> Tensor:
    """The Gaussian along one axis."""
    from_middle = torch.arange(count, dtype=torch.float32) - middle
    return torch.exp(-0.5 * (from_middle / (count / 8)) ** 2)
