"""A ball or disc in millimetres that paints along a stroke, within an intensity range if asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.editing.edit import (
    UNLOCKED,
    Edit,
    Labels,
    Mask,
    Rules,
    Three,
    empty_edit,
    voxels_within,
)
from medseg.errors import InputError

Points = npt.NDArray[np.float64]

_SLACK_MM = 1e-6  # a radius of exactly some voxels holds them, whatever rounding says


@dataclass(frozen=True)
class Brush:
    """How a stroke paints.

    Parameters
    ----------
    radius_mm : float
        Of the ball; voxels whose centre lies within it are painted.
    spacing_mm : tuple of float
        Of the three axes of the array.
    flat_axis : int or None
        The axis of the slice to stay in (a disc), or None for a ball.
    low, high : float or None
        Only voxels of this intensity are painted, both ends included; needs an image.
    """

    radius_mm: float
    spacing_mm: Three
    flat_axis: int | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not self.radius_mm > 0:
            raise InputError(f"the brush needs a radius above 0 mm, got {self.radius_mm}")

    def footprint(self) -> Mask:
        """The voxels the brush covers around a voxel's centre; odd sizes."""
        return ball(self.radius_mm, self.spacing_mm, flat_axis=self.flat_axis)

    def stroke(self, start: npt.ArrayLike, end: npt.ArrayLike) -> Points:
        """Voxel indices along a line, close enough that the brush leaves no gaps; shape (N, 3)."""
        step_mm = max(self.radius_mm / 2, min(self.spacing_mm))
        return stroke_points(start, end, step_mm=step_mm, spacing_mm=self.spacing_mm)

    def accepts(self, intensities: npt.NDArray[Any]) -> Mask:
        """Voxels within the brush's intensity range."""
        accepted = np.ones(intensities.shape, np.bool_)
        if self.low is not None:
            accepted &= intensities >= self.low
        if self.high is not None:
            accepted &= intensities <= self.high
        return accepted


def ball(radius_mm: float, spacing_mm: Three, *, flat_axis: int | None = None) -> Mask:
    """Voxels whose centres lie within a distance of the middle one.

    Parameters
    ----------
    radius_mm : float
    spacing_mm : tuple of float
        Between voxel centres along the three axes.
    flat_axis : int, optional
        The axis along which the ball is one voxel thick.

    Returns
    -------
    ndarray of bool
        Odd sizes; the middle is always in it.
    """
    reach = list(voxels_within(radius_mm, spacing_mm))
    if flat_axis is not None:
        reach[flat_axis] = 0
    offsets = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    squares = sum((n * mm) ** 2 for n, mm in zip(offsets, spacing_mm, strict=True))
    mask: Mask = np.asarray(squares <= (radius_mm + _SLACK_MM) ** 2)
    return mask


def stroke_points(
    start: npt.ArrayLike, end: npt.ArrayLike, *, step_mm: float, spacing_mm: Three
) -> Points:
    """Positions along a line, close enough that a brush leaves no gaps.

    Parameters
    ----------
    start, end : array_like, shape (3,)
        Voxel indices, fractions allowed.
    step_mm : float
        Largest distance from one position to the next.
    spacing_mm : tuple of float
        Of the three axes.

    Returns
    -------
    ndarray, shape (N, 3)
        Voxel indices, the two ends among them.
    """
    first, last = np.asarray(start, np.float64), np.asarray(end, np.float64)
    length_mm = float(np.linalg.norm((last - first) * np.asarray(spacing_mm)))
    count = int(np.ceil(length_mm / step_mm)) + 1
    points: Points = np.linspace(first, last, count)
    return points


def paint(
    values: Labels,
    points: npt.ArrayLike,
    value: int,
    *,
    brush: Brush,
    rules: Rules = UNLOCKED,
    image: npt.NDArray[Any] | None = None,
) -> Edit:
    """Give the voxels under a brush to a label.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    points : array_like, shape (N, 3)
        Where the brush is set down, as voxel indices; each is rounded to its voxel.
    value : int
        The label; 0 erases.
    brush : Brush
    rules : Rules
        Which voxels may be taken. Erasing takes any label that is not locked.
    image : ndarray, shape (I, J, K), optional
        Intensities, for a brush with a range.

    Raises
    ------
    LabelError
        When the label is locked.
    """
    rules.check_unlocked([value])
    centres = np.unique(np.rint(np.asarray(points, np.float64).reshape(-1, 3)).astype(int), axis=0)
    footprint = brush.footprint()
    reach = np.asarray(footprint.shape) // 2
    low, high = centres.min(axis=0) - reach, centres.max(axis=0) + reach + 1
    inner = np.clip(low, 0, values.shape), np.clip(high, 0, values.shape)
    if (inner[0] >= inner[1]).any():
        return empty_edit(values)
    covered = _stamped(footprint, centres - low, tuple(high - low))
    box = tuple(slice(int(a), int(b)) for a, b in zip(*inner, strict=True))
    inner_span = tuple(
        slice(int(a), int(b)) for a, b in zip(inner[0] - low, inner[1] - low, strict=True)
    )
    return _painted(
        values,
        box,
        covered[inner_span],
        value=value,
        rules=rules,
        accepted=None if image is None else brush.accepts(image[box]),
    )


def _stamped(footprint: Mask, centres: npt.NDArray[Any], shape: tuple[int, ...]) -> Mask:
    """The footprint set down at each centre of a box that has room for all of them."""
    covered = np.zeros(shape, np.bool_)
    reach = np.asarray(footprint.shape) // 2
    for centre in centres:
        region = tuple(slice(c - r, c + r + 1) for c, r in zip(centre, reach, strict=True))
        covered[region] |= footprint
    return covered


def _painted(
    values: Labels,
    box: tuple[slice, ...],
    covered: Mask,
    *,
    value: int,
    rules: Rules,
    accepted: Mask | None,
) -> Edit:
    before = values[box]
    if value == 0:
        rules = Rules(over_labels=True, locked=rules.locked)
    covered = covered & rules.free(before)
    if accepted is not None:
        covered &= accepted
    after = before.copy()
    after[covered] = value
    return Edit(box, after)
