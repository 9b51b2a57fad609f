"""Probability and truth of each structure as maps, and distances to their edges.

Losses about shape need them; losses about overlap do with sums (`_overlap_sums`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from medseg.losses import IGNORE

Spacing = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Structures:
    """Maps of all classes but the background, in 2-D or 3-D.

    Parameters
    ----------
    probability : torch.Tensor, shape (B, L - 1, I, J, K)
        Softmax of the logits, 0 at ignored voxels.
    truth : torch.Tensor, shape (B, L - 1, I, J, K)
        bool; false at ignored voxels.
    voxels : torch.Tensor
        Voxels that count, times structures; a scalar, at least 1.
    """

    probability: Tensor
    truth: Tensor
    voxels: Tensor


def structures(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Structures:
    """Maps of what the network says and of what is true."""
    labels = labels_BIJK.long()[:, None]
    counts = labels != IGNORE
    probability = logits_BLIJK.float().softmax(1)[:, 1:] * counts
    classes = torch.arange(1, logits_BLIJK.shape[1], device=labels.device)
    truth = labels == classes.view(-1, *(1,) * (labels.ndim - 2))
    return Structures(probability, truth, (counts.sum() * len(classes)).clamp_min(1))


def distance_outside(mask_BSIJK: Tensor, spacing: Spacing = ()) -> Tensor:
    """Distance of each voxel to the nearest one of its mask; 0 in it, and 0 if it is empty.

    Parameters
    ----------
    mask_BSIJK : torch.Tensor
        bool; every (I, J, K) or (I, J) of it is a mask of its own.
    spacing : tuple of float, optional
        Edge lengths of a voxel along I, J, K; by default distances are in voxels.

    Returns
    -------
    torch.Tensor
        float32, on the mask's device; exact (Maurer et al., IEEE TPAMI 25, 2003).
    """
    masks = mask_BSIJK.cpu().numpy().astype(np.uint8)
    distances = np.zeros(masks.shape, np.float32)
    for index in np.ndindex(masks.shape[:2]):
        if masks[index].any():
            distances[index] = _distance(masks[index], spacing)
    return torch.from_numpy(distances).to(mask_BSIJK.device)


def _distance(mask_IJK: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance to the nearest voxel of one mask."""
    image = sitk.GetImageFromArray(mask_IJK)
    if spacing:
        image.SetSpacing(spacing[::-1])
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    outside: np.ndarray = sitk.GetArrayFromImage(signed).clip(min=0)
    return outside
