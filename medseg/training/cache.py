"""Prepared cases on disk: made once, mapped into memory, never pickled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError, WriteError, reason
from medseg.losses import IGNORE
from medseg.planning import Plan
from medseg.preprocessing import prepare_image, prepare_labels
from medseg.preprocessing.own_transforms import Transform
from medseg.training.dataset import Case, Dataset
from medseg.volume import LabelTable
from medseg.writing import replaced

VOXELS_PER_CLASS = 5_000
"""At most so many voxels of a class are remembered as centres of patches."""


@dataclass(frozen=True)
class Prepared:
    """One case as the network sees it.

    Parameters
    ----------
    image : ndarray of float32, shape (C, I, J, K)
    labels : ndarray of uint8, shape (I, J, K)
        Class indices (0, 1, 2... in the order of the label table), or `IGNORE` where nobody
        judged; mapped from disk.
    foreground_voxels : tuple of ndarray, each of shape (n, 3)
        For each class but the background some of its voxels; empty when it is absent.
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    foreground_voxels: tuple[npt.NDArray[Any], ...]


def prepare_case(
    dataset: Dataset,
    case: Case,
    plan: Plan,
    folder: Path,
    transforms: Sequence[Transform] = (),
) -> Prepared:
    """The prepared case, from `folder` when it is there, else made and stored.

    Parameters
    ----------
    dataset : Dataset
    case : Case
    plan : Plan
        How to prepare it; `folder` belongs to this plan alone.
    folder : Path
        Where prepared cases of the run lie.
    transforms : sequence of callable, optional
        A person's own, after the plan's.
    """
    image_file, label_file = folder / f"{case.name}.image.npy", folder / f"{case.name}.labels.npy"
    stored = stored_arrays([image_file, label_file])
    if stored is None or not _fit(stored, plan, classes=len(dataset.labels)):
        scan, truth = dataset.read(case)
        image_CIJK, placement = prepare_image(scan, plan, transforms)
        values = prepare_labels(truth, plan, placement.box)
        classes = class_indices(values, dataset.annotated)
        folder.mkdir(parents=True, exist_ok=True)
        save_array(image_file, image_CIJK.numpy())
        save_array(label_file, classes)
        stored = [np.load(file, mmap_mode="r") for file in (image_file, label_file)]
    image, labels = stored
    return Prepared(
        image=image,
        labels=labels,
        foreground_voxels=_foreground_voxels(labels, len(dataset.labels)),
    )


def class_indices(values: npt.NDArray[Any], table: LabelTable) -> npt.NDArray[np.uint8]:
    """Label values as class indices.

    Parameters
    ----------
    values : ndarray
        Label values of `table`, and 0.
    table : LabelTable

    Returns
    -------
    ndarray of uint8
        1, 2... in the order of the table's structures, 0 for the background, and `IGNORE` for the
        label named "ignore".

    Raises
    ------
    LabelError
        When there are more structures than class indices.
    """
    structures = table.structures.values
    if len(structures) >= IGNORE:
        raise LabelError(
            f"{len(structures)} labels are too many; a network learns {IGNORE - 1} at most"
        )
    lookup = np.zeros(max(table.values) + 1, np.uint8)
    lookup[list(structures)] = np.arange(1, len(structures) + 1)
    if table.ignored is not None:
        lookup[table.ignored] = IGNORE
    return np.asarray(lookup[values])


def stored_arrays(files: Sequence[Path]) -> list[npt.NDArray[Any]] | None:
    """Arrays of a prepared case, mapped from disk.

    Parameters
    ----------
    files : sequence of Path

    Returns
    -------
    list of ndarray or None
        None where one is not there, or, with a warning, where one is broken.
    """
    if not all(file.is_file() for file in files):
        return None
    arrays: list[npt.NDArray[Any]] = []
    for file in files:
        try:
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            _tell_broken(file, reason(error))
            return None
    return arrays


def _tell_broken(file: Path, why: str) -> None:
    warnings.warn(
        f"the prepared case '{file}' is broken ({why}), as after a power cut or a full disk; it is"
        " prepared again from the dataset",
        stacklevel=3,
    )


def _fit(arrays: Sequence[npt.NDArray[Any]], plan: Plan, *, classes: int) -> bool:
    """Whether arrays are a case of the plan; told where they are not."""
    image, labels = arrays
    expected = (len(plan.channels), *labels.shape)
    why = ""
    if image.shape != expected or image.dtype != np.float32 or labels.dtype != np.uint8:
        why = f"its image is {image.dtype} of shape {image.shape}, not float32 of {expected}"
    elif bool(((labels > classes) & (labels != IGNORE)).any()):
        why = f"it holds the class {int(labels[labels != IGNORE].max())} of {classes}"
    if why:
        _tell_broken(Path(labels.filename), why)  # type: ignore[attr-defined]
    return not why


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array so that `path` is whole or absent.

    Raises
    ------
    WriteError
        When the disk does not take it.
    """
    try:
        with replaced(path, suffix=".tmp") as temporary, temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)
    except OSError as error:
        # numpy counts bytes of an array that was cut short, and has no errno
        why = error.strerror or f"the disk took a part of it only ({reason(error)} bytes)"
        raise WriteError(f"cannot write the prepared case '{path}': {why}") from error


def remove_case(folder: Path, name: str) -> None:
    """Remove what was prepared of a case, for training and for measuring."""
    for part in ("image", "labels", "truth", "affine", "box"):
        (folder / f"{name}.{part}.npy").unlink(missing_ok=True)


def _foreground_voxels(labels: npt.NDArray[np.uint8], classes: int) -> tuple[npt.NDArray[Any], ...]:
    """Evenly spread voxels of each class."""
    of_classes = []
    for index in range(1, classes + 1):
        voxels = np.argwhere(labels == index)
        step = max(1, len(voxels) // VOXELS_PER_CLASS)
        of_classes.append(voxels[::step].astype(np.int32))
    return tuple(of_classes)
