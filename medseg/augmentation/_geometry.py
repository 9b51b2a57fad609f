"""Voxels taken from other places of a patch; places are millimetres from its centre."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

PLANES = ((1, 2), (0, 2), (0, 1))
"""The two axes that a rotation about each axis of a volume mixes."""


def positions_mm(size: Sequence[int], spacing_mm: Sequence[float], device: torch.device) -> Tensor:
    """Where the voxels of a patch lie: (D, *size)."""
    axes = [
        (torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2) * mm
        for n, mm in zip(size, spacing_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def grid_of(source_mm: Tensor, size: Sequence[int], spacing_mm: Sequence[float]) -> Tensor:
    """Places `source_mm` (B, D, ...) in patches of `size` voxels, as `sample` takes them."""
    # torch counts axes from the last, from -1 to 1; stacked in front and moved: behind is slow
    columns = [
        source_mm[:, axis] * (2 / (n * mm))
        for axis, (n, mm) in enumerate(zip(size, spacing_mm, strict=True))
    ]
    return torch.stack(columns[::-1], dim=1).movedim(1, -1)


def sample(batch: Tensor, grid: Tensor, *, mode: str, padding: str) -> Tensor:
    """Values of a batch (B, C, ...) at the places of a grid (B, ..., D)."""
    return grid_sample(batch, grid, mode=mode, padding_mode=padding, align_corners=False)


def centre_crop(batch: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of a batch, whose last axes are spatial."""
    for axis, wanted in enumerate(size, start=batch.dim() - len(size)):
        batch = batch.narrow(axis, (batch.shape[axis] - wanted) // 2, wanted)
    return batch


def rotation(angles: Tensor) -> Tensor:
    """Rotation matrices (B, D, D) for angles (B, 1) in the plane, or (B, 3) about each axis."""
    if angles.shape[1] == 1:
        return _plane_rotation(angles[:, 0], (0, 1), 2)
    about = [_plane_rotation(angles[:, axis], plane, 3) for axis, plane in enumerate(PLANES)]
    return about[0] @ about[1] @ about[2]


def _plane_rotation(angle: Tensor, plane: tuple[int, int], dims: int) -> Tensor:
    matrix = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    first, second = plane
    matrix[:, first, first] = matrix[:, second, second] = torch.cos(angle)
    matrix[:, first, second] = -torch.sin(angle)
    matrix[:, second, first] = torch.sin(angle)
    return matrix


def before_move(target_mm: Tensor, *, backward: Tensor, translation_mm: Tensor) -> Tensor:
    """Where (B, D, ...) what lies at `target_mm` (D, ...) was before a linear map and a shift.

    Parameters
    ----------
    target_mm : torch.Tensor
    backward : torch.Tensor
        The inverse (B, D, D) of the linear map.
    translation_mm : torch.Tensor
        The shift (B, D), after the map.
    """
    lines_mm = target_mm.flatten(1).expand(len(backward), -1, -1)
    source_mm = torch.baddbmm(backward @ translation_mm[:, :, None], backward, lines_mm, beta=-1)
    return source_mm.reshape(len(backward), *target_mm.shape)
