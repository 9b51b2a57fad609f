"""How overlapping tiles are weighed: most in the middle, where the network sees all around."""

from __future__ import annotations

import torch
from torch import Tensor


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
    profiles = []
    for n in tile:
        from_middle = torch.arange(n, dtype=torch.float32) - (n - 1) / 2
        profiles.append(torch.exp(-0.5 * (from_middle / (n / 8)) ** 2))
    i, j, k = profiles
    weight = i[:, None, None] * j[None, :, None] * k[None, None, :]
    return weight.clamp_min(1e-4).to(device)
