"""Labels block by block: only the classes that can win somewhere in a block are interpolated there.

Interpolation is a mean with weights, so a class that lies below another one at every voxel of a
block lies below it everywhere between them too, and a region that is nowhere positive stays so.
Of 105 classes a few are left in most blocks, and a block's voxels stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Nearest = npt.NDArray[np.intp] | None
BLOCK = 64
"""Voxels of a block along each axis of a row."""


@dataclass(frozen=True, eq=False)
class Interpolation:
    """How logits come to the voxels of the result: linearly, where nothing else is said.

    Parameters
    ----------
    nearest : tuple of (ndarray of int or None)
        For each axis along which nothing is interpolated: the voxel of logits of each of the
        result.
    in_half : bool
        Whether interpolated logits are rounded to half precision, as nnU-Net's are.
    """

    nearest: tuple[Nearest, Nearest, Nearest] = (None, None, None)
    in_half: bool = False


@dataclass(frozen=True, eq=False)
class Span:
    """Voxels of a result along one axis, and what they are interpolated from.

    Parameters
    ----------
    native : slice
        Of the result.
    given : slice
        Of the logits.
    weights : torch.Tensor, shape (native, given), or None
        Two neighbours' shares in each voxel of the result; rows add up to 1. None where the
        result has the logits' own voxels.
    """

    native: slice
    given: slice
    weights: Tensor | None

    def __len__(self) -> int:
        """Voxels of the result."""
        return int(self.native.stop - self.native.start)


@dataclass(frozen=True, eq=False)
class Between:
    """Rows of a result as lying between rows of logits; tensors of one number each.

    Parameters
    ----------
    lower, upper : torch.Tensor of int64
    share : torch.Tensor of float32
        Of the upper one.
    """

    lower: Tensor
    upper: Tensor
    share: Tensor

    def __call__(self, logits_LIJK: Tensor) -> Tensor:
        """Logits of the rows of the result; the rows are the last axis but two."""
        lower, upper = (logits_LIJK.index_select(-3, at) for at in (self.lower, self.upper))
        return torch.lerp(lower, upper, self.share[:, None, None])


def positions_of(given: int, native: int, nearest: Nearest) -> npt.NDArray[np.float64]:
    """Where each voxel of the result lies among those of the logits: edges aligned, borders held.

    Parameters
    ----------
    given, native : int
        Voxels of logits and result along an axis.
    nearest : ndarray of int or None
        The voxels themselves, where nothing is interpolated.
    """
    if nearest is not None:
        return nearest.astype(np.float64)
    return np.clip((np.arange(native) + 0.5) * given / native - 0.5, 0, given - 1)


def spans(given: int, native: int, wanted: slice, nearest: Nearest = None) -> list[Span]:
    """An axis in blocks, those that meet some wanted voxels.

    Parameters
    ----------
    given, native : int
        Voxels of logits and result.
    wanted : slice
        Of the result.
    nearest : ndarray of int, optional
        See :func:`positions_of`.
    """
    positions = positions_of(given, native, nearest)
    blocks = []
    for start in range(0, native, BLOCK):
        part = positions[start : start + BLOCK]
        if start >= wanted.stop or start + len(part) <= wanted.start:
            continue
        first, last = int(part[0]), min(int(part[-1]) + 1, given - 1)
        native_part, given_part = slice(start, start + len(part)), slice(first, last + 1)
        if given == native:
            blocks.append(Span(native_part, native_part, None))
            continue
        lower = part.astype(int) - first
        rows = np.arange(len(part))
        weights = np.zeros((len(part), last - first + 1), np.float32)
        weights[rows, lower] = 1 - part % 1
        weights[rows, np.minimum(lower + 1, last - first)] += part % 1
        blocks.append(Span(native_part, given_part, torch.from_numpy(weights)))
    return blocks


def labels_of(
    logits_LIJK: Tensor, between: Between, j: Span, k: Span, *, regions: Sequence[int] = ()
) -> Tensor:
    """Class of every voxel of a block.

    Parameters
    ----------
    logits_LIJK : torch.Tensor
        Of the voxels ``j.given``, ``k.given`` of the rows that `between` speaks of.
    between : Between
    j, k : Span
    regions : sequence of int, optional
        The class that each channel writes where it is positive, later ones over earlier ones;
        without it the largest channel wins, the first among equals.

    Returns
    -------
    torch.Tensor of uint8
    """
    channels = _able_to_win(logits_LIJK.flatten(1), exclusive=not regions)
    size = len(between.lower), len(j), len(k)
    if not channels:
        return torch.zeros(size, dtype=torch.uint8)
    if len(channels) == 1 and not regions:
        return torch.full(size, channels[0], dtype=torch.uint8)
    values = between(logits_LIJK[channels])
    values = values if j.weights is None else j.weights @ values
    values = values if k.weights is None else values @ k.weights.T
    if regions:
        return written(iter(values), [regions[channel] for channel in channels])
    return largest(iter(values), iter(channels))


def largest(values: Iterator[Tensor], names: Iterator[int]) -> Tensor:
    """Name of the channel with the largest value at each voxel, the first among equals."""
    best = next(values)
    winner = torch.full(best.shape, next(names), dtype=torch.uint8, device=best.device)
    for value in values:
        winner.masked_fill_(value > best, next(names))
        best = torch.maximum(best, value)
    return winner


def written(values: Iterator[Tensor], regions: Sequence[int]) -> Tensor:
    """Class of the last channel with a positive value at each voxel, 0 where there is none."""
    first = next(values)
    winner = (first > 0).to(torch.uint8) * regions[0]
    for region, value in zip(regions[1:], values, strict=True):
        winner.masked_fill_(value > 0, region)
    return winner


def _able_to_win(logits_LN: Tensor, *, exclusive: bool) -> list[int]:
    """Channels that are not below one and the same other everywhere; of regions, positive ones."""
    if not exclusive:
        return (logits_LN.amax(1) > 0).nonzero()[:, 0].tolist()
    likely = logits_LN[logits_LN.sum(1).argmax()]
    return ((logits_LN - likely).amax(1) >= 0).nonzero()[:, 0].tolist()
