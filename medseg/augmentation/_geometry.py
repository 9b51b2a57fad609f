"""Voxels taken from other places of a patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def centre_crop(batch: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of a batch, whose last axes are spatial."""
    for axis, wanted in enumerate(size, start=batch.dim() - len(size)):
        if batch.shape[axis] != wanted:
            batch = batch.narrow(axis, (batch.shape[axis] - wanted) // 2, wanted)
    return batch


def offsets(size: Sequence[int], *, before: Sequence[int], device: torch.device) -> Tensor:
    """Voxels (D, *size) from the centre of a patch of size `before` to its middle voxels.

    Where an odd number of voxels is cut away the middle lies half a voxel off the centre, as
    `centre_crop` cuts it.
    """
    axes = [
        torch.arange(n, device=device, dtype=torch.float32) + ((all_n - n) // 2 - (all_n - 1) / 2)
        for n, all_n in zip(size, before, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def sample(batch: Tensor, offset: Tensor, *, mode: str, padding: str = "zeros") -> Tensor:
    """Values of a batch (B, C, ...) at `offset` (B, D, ...): voxels from its centre."""
    columns = [2 * offset[:, axis] / n for axis, n in enumerate(batch.shape[2:])]
    grid = torch.stack(columns[::-1], dim=-1)  # torch counts axes from the last
    return grid_sample(batch, grid, mode=mode, padding_mode=padding, align_corners=False)


def resample_pair(image: Tensor, label: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Intensities interpolated and labels taken from the nearest voxel; zero outside."""
    labels = sample(label[:, None].float(), offset, mode="nearest")[:, 0]
    return sample(image, offset, mode="bilinear"), labels


def rotation(angles: Tensor) -> Tensor:
    """Rotation matrices (B, D, D) for angles (B, 1) in the plane, or (B, 3) about each axis."""
    if angles.shape[1] == 1:
        return _plane_rotation(angles[:, 0], (0, 1), 2)
    about = [_plane_rotation(angles[:, axis], plane, 3) for axis, plane in enumerate(PLANES)]
    return about[0] @ about[1] @ about[2]


PLANES = ((1, 2), (0, 2), (0, 1))
"""The two axes that a rotation about each axis mixes."""


def _plane_rotation(angle: Tensor, plane: tuple[int, int], dims: int) -> Tensor:
    matrix = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    first, second = plane
    matrix[:, first, first] = matrix[:, second, second] = torch.cos(angle)
    matrix[:, first, second] = -torch.sin(angle)
    matrix[:, second, first] = torch.sin(angle)
    return matrix


def in_voxels(matrix_mm: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """A linear map (B, D, D) of millimetres as one of voxels."""
    rows = [
        torch.stack(
            [matrix_mm[:, row, column] * (to_mm / mm) for column, to_mm in enumerate(spacing_mm)],
            -1,
        )
        for row, mm in enumerate(spacing_mm)
    ]
    return torch.stack(rows, 1)


def source_offsets(
    target: Tensor, *, backward_mm: Tensor, translation_mm: Tensor, spacing_mm: Sequence[float]
) -> Tensor:
    """Where the values at `target` (D, ...), voxels from the centre, come from: (B, D, ...).

    Parameters
    ----------
    target : torch.Tensor
    backward_mm : torch.Tensor
        Linear map (B, D, D) from after to before.
    translation_mm : torch.Tensor
        (B, D), by which the image moves.
    spacing_mm : sequence of float
    """
    shift = torch.stack([translation_mm[:, axis] / mm for axis, mm in enumerate(spacing_mm)], 1)
    still = target[None] - shift.reshape(*shift.shape, *(1,) * (target.dim() - 1))
    return torch.einsum("bde,be...->bd...", in_voxels(backward_mm, spacing_mm), still)
