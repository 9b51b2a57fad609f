"""Cut a label in two where it is narrow between two points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg.editing.edit import UNLOCKED, Edit, Labels, Mask, Rules, Three, box_of
from medseg.errors import InputError
from medseg.volume.bounding_box import Box

Index = tuple[int, int, int]


def split_at_seeds(
    values: Labels,
    value: int,
    seeds: Sequence[Index],
    *,
    new_value: int,
    spacing_mm: Three,
    rules: Rules = UNLOCKED,
) -> Edit:
    """Cut a label between two points, at the neck between them; the second part gets a new value.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
    seeds : sequence of two index triples
        A voxel of the part that keeps its value, and one of the part that gets the new one.
    new_value : int
    spacing_mm : tuple of float
        Of the three axes.
    rules : Rules

    Returns
    -------
    Edit
        Pieces of the label that touch neither seed stay as they are.

    Raises
    ------
    InputError
        When the seeds are not two different voxels of the label.
    LabelError
        When one of the two labels is locked.

    References
    ----------
    Meyer, Topographic distance and watershed lines, Signal Processing 38 (1994) 113: a watershed
    of the distance to the surface, flooded from the two seeds.
    """
    rules.check_unlocked([value, new_value])
    _check_seeds(values, value, seeds)
    box = box_of(values, value)
    if box is None:
        raise InputError(f"label {value} has no voxel")
    mask = values[box] == value
    second = _flooded(mask, [_inside(seed, box) for seed in seeds], spacing_mm) == 2
    after = values[box].copy()
    after[mask & second] = new_value
    return Edit(box, after)


def _check_seeds(values: Labels, value: int, seeds: Sequence[Index]) -> None:
    if len(set(seeds)) != 2:
        raise InputError("cutting a label needs two different points; set the second one elsewhere")
    outside = [seed for seed in seeds if int(values[seed]) != value]
    if outside:
        raise InputError(f"the point {outside[0]} does not lie in label {value}; set it inside")


def _inside(seed: Index, box: Box) -> Index:
    i, j, k = (at - span.start for at, span in zip(seed, box, strict=True))
    return i, j, k


def _flooded(mask: Mask, seeds: list[Index], spacing_mm: Three) -> npt.NDArray[np.uint8]:
    """The seed (1 or 2) whose basin each voxel belongs to; 0 where neither gets to."""
    import SimpleITK

    markers = np.zeros(mask.shape, np.uint8)
    for number, seed in enumerate(seeds, start=1):
        markers[seed] = number
    reached = _reached(mask, seeds)
    markers[~reached] = 3  # what no seed gets to is a basin of its own
    basins = SimpleITK.MorphologicalWatershedFromMarkers(
        SimpleITK.GetImageFromArray(-_depth_mm(mask, spacing_mm)),
        SimpleITK.GetImageFromArray(markers),
        markWatershedLine=False,
        fullyConnected=False,
    )
    flooded: npt.NDArray[np.uint8] = SimpleITK.GetArrayFromImage(basins)
    flooded[~reached] = 0
    return flooded


def _depth_mm(mask: Mask, spacing_mm: Three) -> npt.NDArray[np.float32]:
    """How deep below the surface a voxel lies; beyond the array all is outside."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    image.SetSpacing(spacing_mm[::-1])
    depth = SimpleITK.SignedMaurerDistanceMap(
        image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
    )
    inner: npt.NDArray[np.float32] = SimpleITK.GetArrayFromImage(depth)[1:-1, 1:-1, 1:-1]
    return inner


def _reached(mask: Mask, seeds: list[Index]) -> Mask:
    """Voxels of the pieces that hold a seed."""
    from scipy.ndimage import label

    numbers, _ = label(mask)
    reached: Mask = np.isin(numbers, [numbers[seed] for seed in seeds])
    return reached
