"""What one prompt would change: an edit of the box around it, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.editing import Edit, Rules
from medseg.errors import InputError
from medseg.interactive import evidence
from medseg.interactive.marks import Mark, Signs, seeds
from medseg.interactive.reach import FIRST_VOXELS, LEAST_VOXELS, alike_mm, to_surface_mm
from medseg.interactive.region import Mask, Method, Region
from medseg.runtime.progress import Progress
from medseg.volume import Grid
from medseg.volume.bounding_box import Box, bounding_box

CLICK_VOXELS = 300_000
"""Of the box around a prompt, unless itself is larger: about a second of one core."""
MOST_VOXELS = 2_000_000
"""Of that box in any case: about 7 seconds and 1.4 GB."""
_SEARCH_VOXELS = 32
_STEPS = 4


@dataclass(frozen=True, eq=False)
class Labelled:
    """A scan's voxels and labels, as they are while a prompt is worked on.

    Parameters
    ----------
    image : ndarray, shape (C, I, J, K)
    values, start : ndarray of int, shape (I, J, K)
        Labels now, and without the prompts.
    grid : Grid
    rules : Rules
        Of `medseg.editing`: which voxels of other labels may be taken.
    probabilities : mapping of int to ndarray, shape (I, J, K)
        Of labels, from a network; may be empty.
    """

    image: npt.NDArray[Any]
    values: npt.NDArray[Any]
    start: npt.NDArray[Any]
    grid: Grid
    rules: Rules
    probabilities: Mapping[int, npt.NDArray[Any]]

    def mask(self, label: int, where: Box) -> Mask:
        """Voxels of a label in a box."""
        return np.asarray(self.values[where] == label)


def with_reach(mark: Mark, labelled: Labelled) -> Mark:
    """The mark with how far it speaks; less where its box would get too large.

    Raises
    ------
    InputError
        When a scribble or a box is too large by itself.
    """
    grid = labelled.grid
    finest_mm = min(grid.spacing_mm)
    if mark.prompt.kind == "box":
        one_voxel_mm = finest_mm / evidence.WIDTHS
        return replace(mark, reach_mm=_fitting(mark, grid, one_voxel_mm, one_voxel_mm))
    search = _widened(mark.box, grid, _SEARCH_VOXELS * finest_mm)
    side = labelled.mask(mark.prompt.label, search) == mark.prompt.positive
    inner = mark.voxels - [span.start for span in search]
    reach_mm = to_surface_mm(side, inner, grid.spacing_mm)
    if not np.isfinite(reach_mm):
        middle = mark.voxels[len(mark.voxels) // 2]
        reach_mm = max(alike_mm(labelled.image, middle, grid.spacing_mm), FIRST_VOXELS * finest_mm)
    least_mm = LEAST_VOXELS * finest_mm
    return replace(mark, reach_mm=_fitting(mark, grid, max(reach_mm, least_mm), least_mm))


def _fitting(mark: Mark, grid: Grid, reach_mm: float, least_mm: float) -> float:
    """The reach, or a smaller one with which the box around the mark is not too large."""

    def size(reach_mm: float) -> int:
        return _size(_widened(mark.box, grid, evidence.WIDTHS * reach_mm))

    while size(reach_mm) > CLICK_VOXELS and reach_mm > least_mm:
        reach_mm = max(least_mm, 0.9 * reach_mm)
    if size(reach_mm) > MOST_VOXELS:
        raise InputError(
            f"the {mark.prompt.kind} with what lies around it holds {size(reach_mm):,} voxels, of"
            f" which {MOST_VOXELS:,} can be worked on at once; draw a smaller one, or several",
            code="TOO_LARGE",
        )
    return reach_mm


def _size(box: Box) -> int:
    return prod(span.stop - span.start for span in box)


def _widened(box: Box, grid: Grid, by_mm: float) -> Box:
    return tuple(
        slice(max(0, span.start - margin), min(size, span.stop + margin))
        for span, size, margin in zip(
            box, grid.shape, (int(np.ceil(by_mm / mm)) for mm in grid.spacing_mm), strict=True
        )
    )


def propose(labelled: Labelled, marks: Sequence[Mark], method: Method, progress: Progress) -> Edit:
    """What the last of some prompts changes.

    After a prompt for a structure no voxel leaves it, after one against it none joins, and the
    voxels under the prompt are on its side, but for those of locked labels.

    Parameters
    ----------
    labelled : Labelled
    marks : sequence of Mark
        Of all prompts so far, the new one last; each with its reach.
    method : Method
    progress : Progress
        Asked before each of four steps; may raise `Cancelled`.
    """
    last = marks[-1]
    label, grid = last.prompt.label, labelled.grid
    where = _widened(last.box, grid, evidence.WIDTHS * last.reach_mm)
    progress(0, _STEPS, "reading the box around the prompt")
    image = evidence.normalised(labelled.image[(slice(None), *where)])
    signs = seeds(marks, label, where, grid)
    previous = labelled.mask(label, where)
    progress(1, _STEPS, "weighing the prompts")
    prompts = evidence.from_prompts(image, marks, label, where, grid.spacing_mm)
    before = _before(labelled, label, where)
    region = Region(
        image,
        signs,
        previous,
        _free(labelled, last, signs, where),
        evidence.log_odds_of(image, before, prompts, signs, previous),
        grid.spacing_mm,
    )
    progress(2, _STEPS, "finding the structure")
    mask = method(region)
    progress(3, _STEPS, "joining it to what lies around")
    return _edit(labelled, last, region, mask, where)


def _before(labelled: Labelled, label: int, where: Box) -> npt.NDArray[np.float64]:
    if label in labelled.probabilities:
        return evidence.from_probability(labelled.probabilities[label][where])
    return evidence.from_mask(labelled.start[where] == label, labelled.grid.spacing_mm)


def _takeable(labelled: Labelled, label: int, where: Box) -> Mask:
    """Voxels that the label may have: its own, and what the rules let it take."""
    values = labelled.values[where]
    takeable: Mask = (values == label) | labelled.rules.free(values)
    return takeable


def _free(labelled: Labelled, last: Mark, signs: Signs, where: Box) -> Mask:
    """Voxels that may change, as `Region.free` says."""
    free: Mask = (signs == 0) & _takeable(labelled, last.prompt.label, where)
    for axis, (span, size) in enumerate(zip(where, labelled.grid.shape, strict=True)):
        for face, is_end in ((0, span.start == 0), (-1, span.stop == size)):
            if not is_end:
                np.moveaxis(free, axis, 0)[face] = False
    if last.prompt.kind == "box":
        outside = np.ones(free.shape, np.bool_)
        outside[
            tuple(
                slice(inner.start - outer.start, inner.stop - outer.start)
                for inner, outer in zip(last.box, where, strict=True)
            )
        ] = False
        free &= ~outside
    return free


def _edit(labelled: Labelled, last: Mark, region: Region, mask: Mask, where: Box) -> Edit:
    """The change on the prompt's side that hangs together with it, in the smallest box."""
    from scipy.ndimage import label as components

    positive, value = last.prompt.positive, last.prompt.label
    sign = 1 if positive else -1
    own = np.zeros(mask.shape, np.int8)
    last.paint(own, where, sign)
    under = (seeds([last], value, where, labelled.grid) == sign) & (region.seeds == sign)
    under &= _takeable(labelled, value, where) | (own != 0)
    changes = (region.previous != positive) & ((mask == positive) & region.free | under)
    if last.prompt.kind != "box":
        numbers, _ = components(changes | (own != 0), np.ones((3, 3, 3)))
        changes &= np.isin(numbers, np.unique(numbers[own != 0]))
    before = labelled.values[where]
    unlocked = ~np.isin(before, labelled.rules.locked)
    after = np.where(changes & unlocked, value if positive else 0, before).astype(before.dtype)
    box = bounding_box(after != before)
    if box is None:
        return Edit(tuple(slice(0, 0) for _ in where), before[:0, :0, :0])
    inner = tuple(
        slice(outer.start + span.start, outer.start + span.stop)
        for span, outer in zip(box, where, strict=True)
    )
    return Edit(inner, after[box])
