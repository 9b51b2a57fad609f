"""Prompts as voxels: the ones they name, the ones next to these, and which of two prompts holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.editing import ball, stroke_points
from medseg.errors import InputError
from medseg.interactive.prompt import Prompt
from medseg.interactive.region import Mask
from medseg.volume import Grid
from medseg.volume.bounding_box import Box

Voxels = npt.NDArray[np.int64]
Signs = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Mark:
    """A prompt on the voxels of a scan.

    Parameters
    ----------
    prompt : Prompt
    voxels : ndarray of int, shape (N, 3)
        The voxels of a click or a scribble; the first and the last corner of a box.
    box : tuple of slice
        The smallest box that holds them.
    reach_mm : float
        How far from these voxels the prompt speaks, less and less.
    """

    prompt: Prompt
    voxels: Voxels
    box: Box
    reach_mm: float = 0.0

    def sign_for(self, label: int) -> int:
        """1 where it says that a structure is there, -1 that it is not, 0 where it says neither."""
        if self.prompt.label == label:
            return 1 if self.prompt.positive else -1
        return -1 if self.prompt.positive and self.prompt.kind != "box" else 0

    def paint(self, signs: Signs, where: Box, sign: int) -> None:
        """Set the voxels it names in an array that holds a box of the scan."""
        if self.prompt.kind == "box":
            if sign < 0:
                signs[_within(self.box, where)] = sign
            return
        start = [span.start for span in where]
        inner = self.voxels - start
        inner = inner[((inner >= 0) & (inner < signs.shape)).all(axis=1)]
        signs[tuple(inner.T)] = sign

    def paint_around(self, signs: Signs, where: Box, sign: int, footprint: Mask) -> None:
        """Set the voxels next to those of a click or scribble too."""
        if self.prompt.kind == "box":
            return
        offsets = np.argwhere(footprint) - np.array(footprint.shape) // 2
        around = (self.voxels[:, None] + offsets).reshape(-1, 3)
        Mark(self.prompt, around, self.box).paint(signs, where, sign)


def mark_on(grid: Grid, prompt: Prompt) -> Mark:
    """Where a prompt lies on a scan's voxels; of a scribble or box, what lies in the scan.

    Raises
    ------
    InputError
        When nothing of it lies in the scan.
    """
    corners = grid.to_index(prompt.points_mm)
    last = np.array(grid.shape) - 1
    if prompt.kind == "box":
        low, high = np.rint(np.sort(corners, axis=0)).astype(np.int64)
        voxels = np.stack([np.maximum(low, 0), np.minimum(high, last)])
        inside = bool((voxels[0] <= voxels[1]).all())
    else:
        voxels = np.unique(np.rint(_curve(corners, grid)).astype(np.int64), axis=0)
        voxels = voxels[((voxels >= 0) & (voxels <= last)).all(axis=1)]
        inside = bool(len(voxels))
    if not inside:
        point = ", ".join(f"{mm:.1f}" for mm in prompt.points_mm[0])
        low_mm, high_mm = grid.corners_mm().min(axis=0), grid.corners_mm().max(axis=0)
        extent = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in zip(low_mm, high_mm, strict=True))
        raise InputError(
            f"the {prompt.kind} at ({point}) mm lies outside the scan, which reaches over"
            f" ({extent}) mm in RAS+; give world millimetres, not voxels",
            code="OUTSIDE",
        )
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
    return Mark(prompt, voxels, box)


def _curve(points: npt.NDArray[np.float64], grid: Grid) -> npt.NDArray[np.float64]:
    """The points, and those between them that leave no gap; shape (N, 3), voxel indices."""
    spacing_mm = grid.spacing_mm
    parts = [points]
    for start, end in itertools.pairwise(points):
        parts.append(stroke_points(start, end, step_mm=min(spacing_mm) / 2, spacing_mm=spacing_mm))
    return np.concatenate(parts)


def _within(box: Box, where: Box) -> Box:
    """A box of the scan in the indices of another box; empty where they do not meet."""
    return tuple(
        slice(max(0, inner.start - outer.start), max(0, inner.stop - outer.start))
        for inner, outer in zip(box, where, strict=True)
    )


def named(marks: Iterable[Mark], label: int, where: Box) -> Signs:
    """What prompts say about a structure at the voxels they name, later ones over earlier ones.

    Parameters
    ----------
    marks : iterable of Mark
        In the order of the prompts.
    label : int
    where : tuple of slice
        A box of the scan.

    Returns
    -------
    ndarray of int8
        1 for the structure, -1 against it, else 0; of the shape of the box.
    """
    signs = np.zeros([span.stop - span.start for span in where], np.int8)
    for mark in marks:
        if sign := mark.sign_for(label):
            mark.paint(signs, where, sign)
    return signs


def seeds(marks: Sequence[Mark], label: int, where: Box, grid: Grid) -> Signs:
    """As :func:`named`, with the voxels within the smallest spacing around clicks and scribbles.

    A voxel that a prompt names is never given to the other side by one that only lies beside it.
    """
    footprint = ball(min(grid.spacing_mm), grid.spacing_mm)
    signs = np.zeros([span.stop - span.start for span in where], np.int8)
    for mark in marks:
        if sign := mark.sign_for(label):
            mark.paint_around(signs, where, sign, footprint)
    exactly = named(marks, label, where)
    return np.where(exactly != 0, exactly, signs)
