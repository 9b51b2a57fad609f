"""Resampling between grids that differ only in voxel counts: one matrix product per axis.

Both grids cover the same box edge to edge (voxel edges align, not centres), so output voxel `o`
of `n_out` samples input coordinate ``(o + 0.5) * n_in / n_out - 0.5``, clamped to the centres of
the outermost voxels. A cubic spline through the samples is linear in them, and the spline of a
box is separable: each axis is one small matrix, and the work is three matrix products.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg.volume.grid import Grid

Order = Literal[0, 1, 3]
Ends = Literal["mirrored", "held"]
Array = npt.NDArray[Any]


_HELD = 12
"""Voxels that scipy adds at both ends; what lies beyond has no weight in single precision."""


def resized(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """The grid with `shape` voxels that covers the same box as `grid`, edge to edge.

    Parameters
    ----------
    grid : Grid
    shape : tuple of int
        Voxel counts after.
    """
    factor = np.asarray(grid.shape) / np.asarray(shape)
    step = np.eye(4)
    step[:3, :3] = np.diag(factor)
    step[:3, 3] = (factor - 1) / 2
    return Grid(shape, grid.affine @ step)


def shape_for_spacing(grid: Grid, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Voxel counts that bring `grid` closest to a spacing in mm; at least 1 along each axis."""
    counts = [
        max(1, round(mm / target_mm * n))
        for n, mm, target_mm in zip(grid.shape, grid.spacing_mm, spacing_mm, strict=True)
    ]
    return counts[0], counts[1], counts[2]


def resample(
    array: Array, shape: tuple[int, int, int], *, order: Order = 3, ends: Ends = "mirrored"
) -> Array:
    """Intensities at other voxel counts.

    Parameters
    ----------
    array : ndarray, shape (..., I, J, K)
    shape : tuple of int
        Voxel counts along I, J, K after.
    order : {0, 1, 3}
        Nearest, linear, or cubic spline.
    ends : {"mirrored", "held"}
        What :func:`axis_weights` takes to lie beyond the outermost voxels.

    Returns
    -------
    ndarray, shape (..., *shape)
        float32; `array` itself when the counts agree already.
    """
    if tuple(array.shape[-3:]) == tuple(shape):
        return array
    result = np.ascontiguousarray(array, np.float32)
    for axis in _cheapest_first(array.shape[-3:], shape):
        weights = axis_weights(result.shape[axis - 3], shape[axis], order, ends)
        result = _along(result, axis - 3, weights)
    return result


def resample_labels(values: Array, shape: tuple[int, int, int]) -> Array:
    """Labels at other voxel counts: each label's mask is interpolated linearly, the largest wins.

    Parameters
    ----------
    values : ndarray of unsigned int, shape (I, J, K)
    shape : tuple of int
        Voxel counts after.

    Returns
    -------
    ndarray, shape `shape`
        Same dtype; no value appears that was not there.
    """
    if values.shape == tuple(shape):
        return values
    return largest_mask(values, shape, lambda mask: resample(mask, shape, order=1))


def largest_mask(
    values: Array,
    shape: tuple[int, int, int],
    transform: Callable[[Array], Array],
    nearest: Array | None = None,
) -> Array:
    """Labels after a move that interpolates: at each voxel the label whose moved mask is largest.

    Parameters
    ----------
    values : ndarray of unsigned int
    shape : tuple of int
        Shape that `transform` gives.
    transform : callable
        Takes one label's mask (float32, 0 to 1) to `shape`, in any number format.
    nearest : ndarray, shape `shape`, optional
        Labels that are taken where no other's mask is larger; else the smallest of the largest.

    Returns
    -------
    ndarray, shape `shape`
        Same dtype as `values`; 0 where no mask reaches.
    """
    # one mask at a time with a running maximum: memory for two, however many labels there are
    best: Array = np.zeros((), np.float32)
    labels = np.zeros(shape, values.dtype)
    of_nearest: Array | None = None
    for value in np.unique(values):
        weight = transform((values == value).astype(np.float32))
        if best.ndim == 0:
            best = np.zeros_like(weight)
            of_nearest = None if nearest is None else np.zeros_like(weight)
        wins = weight > best
        labels[wins] = value
        best[wins] = weight[wins]
        if of_nearest is not None:
            np.copyto(of_nearest, weight, where=nearest == value)
    return labels if nearest is None else np.where(of_nearest == best, nearest, labels)


@functools.lru_cache(maxsize=64)
def axis_weights(
    n_in: int, n_out: int, order: Order, ends: Ends = "mirrored"
) -> npt.NDArray[np.float32]:
    """Matrix that carries `n_in` samples along an axis to `n_out`.

    Parameters
    ----------
    n_in, n_out : int
        Voxel counts before and after.
    order : {0, 1, 3}
        Nearest, linear, or cubic spline.
    ends : {"mirrored", "held"}
        What the spline passes through beyond the outermost centres: the samples mirrored, where
        nothing is asked for there; or the outermost ones over and over, as scipy's ``zoom`` with
        the mode ``nearest`` has it, which takes the upper of two voxels that are equally near.

    Returns
    -------
    ndarray, shape (n_out, n_in)
        Every row sums to 1.

    References
    ----------
    Unser, Splines: a perfect fit for signal and image processing, IEEE SPM 16(6), 1999.
    """
    positions = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    if order == 0 and ends == "held":
        weights = np.eye(n_in)[nearest_voxels(n_in, n_out)]
    elif order == 0:
        weights = np.eye(n_in)[np.rint(positions).astype(int)]
    elif order == 1:
        weights = _basis(positions, n_in, _hat, reach=1)
    elif ends == "held":
        weights = _held_spline(n_in, n_out)
    else:
        weights = _spline(positions, n_in)
    weights[np.abs(weights) < 1e-9] = 0.0  # subnormal numbers make a matrix product 10x slower
    return np.ascontiguousarray(weights, np.float32)


def nearest_voxels(n_in: int, n_out: int, *, single: bool = False) -> npt.NDArray[np.intp]:
    """Index of the voxel that each of `n_out` takes its value from, the upper of two equally near.

    Parameters
    ----------
    n_in, n_out : int
        Voxel counts before and after.
    single : bool, default False
        Whether to reckon in single precision, as torch's ``nearest-exact``, and not as scipy.
    """
    if single:
        indices = np.floor((np.arange(n_out, dtype=np.float32) + 0.5) * np.float32(n_in / n_out))
    else:
        indices = np.floor(n_in / n_out * (np.arange(n_out) + 0.5) - 0.5 + 0.5)
    clipped: npt.NDArray[np.intp] = np.clip(indices, 0, n_in - 1).astype(np.intp)
    return clipped


def _held_spline(n_in: int, n_out: int) -> npt.NDArray[np.float64]:
    """Weights of the spline whose outermost samples go on beyond the ends."""
    padded = np.arange(-_HELD, n_in + _HELD)
    held = np.eye(n_in)[np.clip(padded, 0, n_in - 1)]
    positions = n_in / n_out * (np.arange(n_out) + 0.5) - 0.5
    return _spline(positions + _HELD, len(padded)) @ held


def _spline(positions: Array, n_in: int) -> npt.NDArray[np.float64]:
    """Weights of the cubic spline through samples, whose ends are mirrored."""
    # Weights of B-splines are not the samples: the spline has to pass through these, so its
    # coefficients solve at_samples @ c = samples (Unser's prefilter, here as a small system).
    at_samples = _basis(np.arange(n_in, dtype=float), n_in, _cubic, reach=2)
    weights: npt.NDArray[np.float64] = np.linalg.solve(
        at_samples.T, _basis(positions, n_in, _cubic, reach=2).T
    ).T
    return weights


def _basis(positions: Array, n_in: int, kernel: Any, *, reach: int) -> Array:
    """Values of the shifted kernels at `positions`, ends mirrored; shape (positions, n_in)."""
    weights = np.zeros((len(positions), n_in))
    rows = np.arange(len(positions))
    for offset in range(1 - reach, 1 + reach):
        node = np.floor(positions).astype(int) + offset
        # mirrored about the outermost centres (..., 2, 1, 0, 1, 2, ...), so borders stay flat
        period = max(2 * (n_in - 1), 1)
        folded = np.abs(node) % period
        folded = np.where(folded >= n_in, period - folded, folded)
        np.add.at(weights, (rows, folded), kernel(np.abs(positions - node)))
    return weights


def _hat(distance: Array) -> Array:
    return np.asarray(np.clip(1 - distance, 0, None))


def _cubic(distance: Array) -> Array:
    """Cubic B-spline."""
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far))


def _along(array: Array, axis: int, weights: npt.NDArray[np.float32]) -> Array:
    """`weights` applied along one axis (negative) as a matrix product."""
    if axis == -1:
        return array @ weights.T
    if axis == -2:
        return weights @ array
    lead = array.shape[:axis]
    flat = array.reshape(*lead, array.shape[axis], -1)
    return (weights @ flat).reshape(*lead, len(weights), *array.shape[axis + 1 :])


def _cheapest_first(before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    """Axes whose counts change, in the order that shrinks the array soonest."""
    changed = [axis for axis in range(3) if after[axis] != before[axis]]
    return sorted(changed, key=lambda axis: after[axis] / before[axis])
