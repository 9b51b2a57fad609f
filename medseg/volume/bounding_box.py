"""The smallest box around a mask, and around what a scan holds within its padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Box = tuple[slice, ...]


def bounding_box(mask: npt.NDArray[Any]) -> Box | None:
    """The smallest box that holds a mask of any number of axes; None when it is empty."""
    box = []
    for axis in range(mask.ndim):
        # the first axis is reduced over all the others once; the next look at what is left
        others = tuple(other for other in range(mask.ndim) if other != axis)
        indices = np.flatnonzero(mask.any(axis=others))
        if not indices.size:
            return None
        span = slice(int(indices[0]), int(indices[-1]) + 1)
        mask = mask[(slice(None),) * axis + (span,)]
        box.append(span)
    return tuple(box)


def content_box(voxels: npt.NDArray[Any]) -> Box:
    """The box of a scan without the slices at its edges that hold nothing but padding.

    Padding is what has, in every channel, the value of the first or of the last corner voxel: each
    of the six sides has one of the two, so zeros, air and white margins are found alike, on one
    side or on all. A scan of nothing else keeps all its voxels.

    Parameters
    ----------
    voxels : ndarray, shape (C, I, J, K)
    """
    inside: npt.NDArray[np.bool_] = np.zeros(voxels.shape[1:], np.bool_)
    for channel in voxels:
        first, last = channel[0, 0, 0], channel[-1, -1, -1]
        inside |= (channel != first) & (channel != last)
    return bounding_box(inside) or tuple(slice(0, n) for n in inside.shape)


def nonzero_box(voxels: npt.NDArray[Any]) -> Box:
    """The box of the voxels of a scan that are not 0 in some channel; all where there are none.

    Parameters
    ----------
    voxels : ndarray, shape (C, I, J, K)
    """
    return bounding_box(nonzero(voxels)) or tuple(slice(0, n) for n in voxels.shape[1:])


def nonzero(voxels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which voxels are not 0 in some channel; shape (I, J, K).

    Parameters
    ----------
    voxels : ndarray, shape (C, I, J, K)
    """
    inside: npt.NDArray[np.bool_] = voxels[0] != 0
    for channel in voxels[1:]:
        inside |= channel != 0
    return inside
