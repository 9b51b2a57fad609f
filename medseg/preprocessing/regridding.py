"""Resampling as nnU-Net v2 has it, of images and of labels, for models whose plan says so.

Its images go through scikit-image's ``resize`` (order 3, mode ``edge``), a cubic spline along each
axis whose outermost samples are held, clipped to the values that went in; thick slices one by one,
and then the nearest slice is taken. The matrices of :mod:`medseg.volume.resampling` give the same.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import zoom
from torch.nn.functional import interpolate

from medseg.planning.interpolation import Interpolation, Spacing
from medseg.volume.resampling import largest_mask, nearest_voxels, resample

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
_CUBIC: Literal[3] = 3


def regrid_image(
    array_CIJK: Array, shape: Shape, way: Interpolation, current_mm: Spacing, target_mm: Spacing
) -> Array:
    """Intensities at other voxel counts.

    Parameters
    ----------
    array_CIJK : ndarray
    shape : tuple of int
        Voxel counts after.
    way : Interpolation
    current_mm, target_mm : tuple of float
        Spacing before and after, which decides whether slices are thick.

    Returns
    -------
    ndarray, shape (C, *shape)
        float32.
    """
    if array_CIJK.shape[1:] == shape:
        return array_CIJK
    across = way.axis_across(current_mm, target_mm)
    out = np.empty((len(array_CIJK), *shape), np.float32)
    for channel, array_IJK in zip(out, array_CIJK, strict=True):
        channel[...] = _regridded(array_IJK, shape, way, across)
    return out


def regrid_labels(
    labels_IJK: Array, shape: Shape, way: Interpolation, current_mm: Spacing, target_mm: Spacing
) -> Array:
    """Labels at other voxel counts: of the labels' interpolated masks the largest wins.

    Where two are as large the nearest voxel's label wins, or the smaller by `way.torch`.

    Parameters
    ----------
    labels_IJK : ndarray of int
    shape : tuple of int
        Voxel counts after.
    way : Interpolation
    current_mm, target_mm : tuple of float
        Spacing before and after.

    Returns
    -------
    ndarray, shape `shape`
        Same dtype; no value appears that was not there.
    """
    if labels_IJK.shape == shape:
        return labels_IJK
    across = way.axis_across(current_mm, target_mm)
    if across is None:
        return _labels(labels_IJK, shape, way, way.order)
    in_plane = _with_count(shape, across, labels_IJK.shape[across])
    slices = _labels(labels_IJK, in_plane, way, way.order)
    return _labels(slices, shape, way, way.order_across)


def _regridded(array_IJK: Array, shape: Shape, way: Interpolation, across: int | None) -> Array:
    if across is None:
        return _moved(array_IJK, shape, way, way.order, clipped_over=(0, 1, 2))
    in_plane = _with_count(shape, across, array_IJK.shape[across])
    others = tuple(axis for axis in range(3) if axis != across)
    slices = _moved(array_IJK, in_plane, way, way.order, clipped_over=others)
    return _moved(slices, shape, way, way.order_across, clipped_over=())


def _moved(
    array_IJK: Array,
    shape: Shape,
    way: Interpolation,
    order: Literal[0, 1, 3],
    *,
    clipped_over: tuple[int, ...],
) -> Array:
    """One step of the way; a spline is clipped to the range of values over some axes."""
    if array_IJK.shape == shape:
        return array_IJK
    if way.torch:
        return _by_torch(array_IJK, shape, order)
    moved = resample(array_IJK, shape, order=order, ends="held")
    if order != _CUBIC or not clipped_over:
        return moved
    low, high = (ends(array_IJK, axis=clipped_over, keepdims=True) for ends in (np.min, np.max))
    return np.clip(moved, low, high, out=moved)


def _labels(labels_IJK: Array, shape: Shape, way: Interpolation, order: Literal[0, 1, 3]) -> Array:
    if labels_IJK.shape == shape:
        return labels_IJK
    nearest = labels_IJK
    for axis, (before, after) in enumerate(zip(labels_IJK.shape, shape, strict=True)):
        nearest = nearest.take(nearest_voxels(before, after, single=way.torch), axis)
    if order == 0:
        return nearest
    if way.torch:
        return largest_mask(labels_IJK, shape, lambda mask: _thousandths(mask, shape))
    return largest_mask(labels_IJK, shape, lambda mask: _zoomed(mask, shape), nearest)


def _zoomed(mask_IJK: Array, shape: Shape) -> Array:
    """A mask interpolated linearly by the steps of scikit-image's ``resize``.

    Masks are as large as one another at many borders, and there rounding decides.
    """
    factors = [1 / (before / after) for before, after in zip(mask_IJK.shape, shape, strict=True)]
    moved: Array = zoom(
        mask_IJK, factors, output=np.float64, order=1, mode="nearest", grid_mode=True
    )
    return moved


def _thousandths(mask_IJK: Array, shape: Shape) -> Array:
    """A mask interpolated linearly, in the half precision in which nnU-Net compares them."""
    return (1000 * _by_torch(mask_IJK, shape, 1)).astype(np.float16)


def _by_torch(array_IJK: Array, shape: Shape, order: Literal[0, 1, 3]) -> Array:
    mode = "trilinear" if order else "nearest-exact"
    values = torch.from_numpy(np.ascontiguousarray(array_IJK, np.float32))
    moved: Array = interpolate(values[None, None], shape, mode=mode)[0, 0].numpy()
    return moved


def _with_count(shape: Shape, axis: int, count: int) -> Shape:
    """`shape` with another number of voxels along one axis."""
    i, j, k = (count if axis == other else n for other, n in enumerate(shape))
    return i, j, k
