"""A robot that clicks where a mask is wrong, as challenges measure interactive methods."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.interactive.prompt import Prompt
from medseg.interactive.region import Mask
from medseg.volume import Grid

_CORNERS = np.ones((3, 3, 3), np.bool_)
_DEEP = 0.5  # of the deepest voxel of an error: where a person may click as well


class RobotUser:
    """Clicks in the middle of the largest error, or near it.

    Parameters
    ----------
    truth : ndarray of bool, shape (I, J, K)
    grid : Grid
    label : int
        Of the structure in the prompts.
    jitter : int, optional
        Seed of a robot that misses the middle as people do: it clicks on any voxel at least half
        as deep in the error as the deepest, moved by a normal error of one voxel an axis, and says
        what the truth is there. Without it the middle is hit.

    References
    ----------
    Evaluation of the CVPR 2025 challenge on interactive 3-D segmentation: the error's components
    touch at faces, edges or corners, the click is where the distance to the component's surface
    (here in mm) is largest, for or against as the truth says there. Of several such voxels the
    one nearest to their middle is taken.
    """

    def __init__(self, truth: Mask, grid: Grid, label: int, *, jitter: int | None = None) -> None:
        if truth.shape != grid.shape:
            raise InputError(f"a truth of shape {truth.shape} does not fit a grid of {grid.shape}")
        self._truth = truth
        self._grid = grid
        self._label = label
        self._random = None if jitter is None else np.random.default_rng(jitter)

    def click(self, mask: Mask) -> Prompt | None:
        """The next click on a mask, or None when it is right.

        Parameters
        ----------
        mask : ndarray of bool, shape (I, J, K)
        """
        depth_mm = _largest_error_depth_mm(mask != self._truth, self._grid.spacing_mm)
        if depth_mm is None:
            return None
        deepest = np.argwhere(depth_mm == depth_mm.max())
        away_mm = (deepest - deepest.mean(axis=0)) * self._grid.spacing_mm
        voxel = deepest[(away_mm**2).sum(axis=1).argmin()]
        if self._random is not None:
            deep = np.argwhere(depth_mm >= _DEEP * depth_mm.max())
            moved = deep[self._random.integers(len(deep))] + self._random.normal(0, 1, 3)
            voxel = np.clip(np.rint(moved).astype(np.int64), 0, np.array(mask.shape) - 1)
        positive = bool(self._truth[tuple(voxel)])
        return Prompt.click(self._grid.to_world(voxel), self._label, positive=positive)


def _largest_error_depth_mm(
    error: Mask, spacing_mm: tuple[float, float, float]
) -> npt.NDArray[np.float64] | None:
    """How deep each voxel lies in the largest piece of an error, 0 elsewhere."""
    from scipy.ndimage import distance_transform_edt, label

    numbers, count = label(error, _CORNERS)
    if not count:
        return None
    largest = 1 + int(np.bincount(numbers.ravel())[1:].argmax())
    padded = np.pad(numbers == largest, 1)
    depth_mm: npt.NDArray[np.float64] = distance_transform_edt(padded, spacing_mm)
    return depth_mm[1:-1, 1:-1, 1:-1]
