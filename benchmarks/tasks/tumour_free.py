"""Tumour-free brain slices, made of the untouched halves of slices with a tumour.

Every slice of `brain_tumor_t1ce` holds a tumour, so a network that learns from them alone may draw
one into any slice. Two pictures are made of each slice of the training runs that shows a symmetric
head, axial or coronal, with the tumour in one half and away from the middle:

- ``NAME_free``: the half without the tumour beside its own mirror image, without any label;
- ``NAME_twice``: the half with the tumour beside its own mirror image, labelled on both sides.

The second is there so that a picture's symmetry says nothing about its having a tumour. Held-out
cases stay as they are. What is made is no healthy brain: a tumour presses on the other half too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

PARTS = ("images", "labels")
MARGIN = 8
"""Pixels between the tumour and the middle of the head."""
LEAST_HEAD = 0.1
"""Share of the largest intensity above which a pixel counts as head."""
LEAST_SYMMETRY = 0.88
"""Correlation of the blurred halves; by eye, nearly all sagittal slices lie below."""
BLUR = 4.0
"""Standard deviation in pixels of what the halves are compared with."""

Pixels = npt.NDArray[np.uint8]


def make_tumour_free(source: Path, folder: Path) -> None:
    """Links to the slices of `source`, the pictures made of them, and folds; written once.

    Parameters
    ----------
    source : Path
        With ``images``, ``labels`` and ``splits.json``.
    folder : Path
    """
    made: dict[str, list[str]] = {}
    for part in PARTS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "labels").glob("*.png")):
        for part in PARTS:
            link = folder / part / path.name
            if not link.is_symlink():
                link.symlink_to(source / part / path.name)
        made[path.stem] = []
        for name, *pixels in halves_doubled(source, path.stem):
            made[path.stem].append(name)
            for part, picture in zip(PARTS, pixels, strict=True):
                save_whole(picture, folder / part / f"{name}.png")
    splits = json.loads((source / "splits.json").read_text())
    for fold in splits["folds"]:
        fold["train"] += [name for case in fold["train"] for name in made[case]]
    (folder / "splits.json").write_text(json.dumps({"folds": splits["folds"]}, indent=1) + "\n")


def save_whole(pixels: Pixels, target: Path) -> None:
    """A PNG that is there whole or not at all; kept when it is there."""
    if not target.is_file():
        part = target.with_suffix(".part")
        Image.fromarray(pixels).save(part, "PNG")
        part.replace(target)


def halves_doubled(source: Path, case: str) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Name, image and label of the pictures made of a slice, where it serves.

    Parameters
    ----------
    source : Path
    case : str
    """
    image = np.asarray(Image.open(source / "images" / f"{case}.png"))
    label = np.asarray(Image.open(source / "labels" / f"{case}.png"))
    columns = np.flatnonzero((image > LEAST_HEAD * image.max()).sum(axis=0) > MARGIN)
    tumour = np.flatnonzero(label.any(axis=0))
    middle = int(columns[0] + columns[-1] + 1) // 2
    if tumour[-1] < middle - MARGIN:
        free, other = "right", "left"
    elif tumour[0] >= middle + MARGIN:
        free, other = "left", "right"
    else:
        return
    if symmetry(image, middle) < LEAST_SYMMETRY:
        return
    yield f"{case}_free", doubled(image, middle, free), doubled(label, middle, free)
    yield f"{case}_twice", doubled(image, middle, other), doubled(label, middle, other)


def symmetry(image: Pixels, middle: int) -> float:
    """Correlation between the blurred left part of a picture and the mirrored right one."""
    blurred = gaussian_filter(image, BLUR)
    left = blurred[:, :middle].ravel()
    return float(np.corrcoef(left, doubled(blurred, middle, "right")[:, :middle].ravel())[0, 1])


def doubled(pixels: Pixels, middle: int, side: str) -> Pixels:
    """One half of a picture (rows, columns) and its mirror image about a column; 0 beyond."""
    width = pixels.shape[1]
    columns = np.arange(width)
    mirrored = 2 * middle - 1 - columns
    is_kept = columns >= middle if side == "right" else columns < middle
    taken = np.where(is_kept, columns, mirrored)
    inside = (taken >= 0) & (taken < width)
    result: Pixels = np.where(inside, pixels[:, taken.clip(0, width - 1)], 0).astype(np.uint8)
    return result
