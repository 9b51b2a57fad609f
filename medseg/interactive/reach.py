"""How far a prompt speaks: to the surface it corrects, or as far as the image looks the same."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.interactive.marks import Voxels
from medseg.interactive.region import Mask, Three

FIRST_VOXELS = 8.0
"""Reach of the first prompt for a structure, at least, in voxels of the smallest spacing."""
LEAST_VOXELS = 2.0
FARTHEST_MM = 100.0
_GROWTH = 1.25
_SHARE = 0.5  # of the directions in which the image still looks like the place of the prompt
_UNALIKE = 2.0  # standard deviations
_BEYOND = 1.5  # what looks the same ends before the structure does
_DIRECTIONS = np.array([d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)], np.float64)
_DIRECTIONS /= np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)


def to_surface_mm(side: Mask, voxels: Voxels, spacing_mm: Three) -> float:
    """How far the farthest of some voxels is from what lies on their prompt's side.

    A click in the middle of an error is as far from the surface it corrects as the error reaches.

    Parameters
    ----------
    side : ndarray of bool, shape (I, J, K)
        A box of voxels that already are as the prompt says.
    voxels : ndarray of int, shape (N, 3)
        In that box.
    spacing_mm : tuple of float

    Returns
    -------
    float
        Infinite when nothing is on that side.
    """
    from scipy.ndimage import distance_transform_edt

    if not side.any():
        return np.inf
    away_mm = distance_transform_edt(~side, spacing_mm)
    return float(away_mm[tuple(voxels.T)].max())


def alike_mm(image: npt.NDArray[Any], voxel: npt.NDArray[Any], spacing_mm: Three) -> float:
    """How far around a voxel the image looks as it does there, in most directions.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
        The whole scan; 26 rays of it are read.
    voxel : ndarray of int, shape (3,)
    spacing_mm : tuple of float

    Returns
    -------
    float
        0 when it looks so everywhere, which says nothing.
    """
    spacing = np.asarray(spacing_mm)
    core = _sampled(image, voxel + np.concatenate([np.zeros((1, 3)), _DIRECTIONS]))
    middle = np.median(core, axis=1, keepdims=True)
    spread = np.maximum(np.std(core, axis=1, keepdims=True), 1e-6)
    radius_mm = LEAST_VOXELS * float(spacing.min())
    while radius_mm < FARTHEST_MM:
        shell = _sampled(image, voxel + _DIRECTIONS * radius_mm * _GROWTH / spacing)
        if not shell.size:
            break
        alike = (np.abs(shell - middle) < _UNALIKE * spread).all(axis=0)
        if alike.mean() < _SHARE:
            return _BEYOND * radius_mm
        radius_mm *= _GROWTH
    return 0.0


def _sampled(image: npt.NDArray[Any], places: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intensities at the voxels nearest to some places in the scan; shape (C, N)."""
    at = np.rint(places).astype(np.int64)
    at = at[((at >= 0) & (at < image.shape[1:])).all(axis=1)]
    return np.nan_to_num(image[:, at[:, 0], at[:, 1], at[:, 2]].astype(np.float64))
