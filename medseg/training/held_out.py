"""Held-out cases of a run: prepared once and kept on disk, however often they are segmented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medseg.planning import Plan
from medseg.preprocessing import prepare_image
from medseg.preprocessing.own_transforms import Transform
from medseg.runtime.progress import Progress, silent
from medseg.training.cache import save_array, stored_arrays
from medseg.training.dataset import Case, Dataset
from medseg.volume import Grid, LabelMap
from medseg.volume.bounding_box import Box


@dataclass(frozen=True, eq=False)
class HeldOutCase:
    """A case to measure on.

    Parameters
    ----------
    name : str
    truth : LabelMap
        On the scan's own grid; its values are mapped from disk.
    image_file : Path
        The prepared image.
    box : tuple of slice
        What was left of the scan when it was cropped; all of it where the plan does not crop.
    """

    name: str
    truth: LabelMap
    image_file: Path
    box: Box

    @property
    def image_CIJK(self) -> Tensor:  # noqa: N802 - axes in the name, as everywhere
        """The image as the network sees it, float32; mapped from disk, writing changes no file."""
        return torch.from_numpy(np.load(self.image_file, mmap_mode="c"))


def prepare_held_out(
    dataset: Dataset,
    cases: Sequence[Case],
    plan: Plan,
    folder: Path,
    *,
    transforms: Sequence[Transform] = (),
    progress: Progress = silent,
) -> tuple[HeldOutCase, ...]:
    """The held-out cases, from `folder` as far as they are there, else made and stored.

    Parameters
    ----------
    dataset : Dataset
    cases : sequence of Case
    plan : Plan
        How to prepare them; `folder` belongs to this plan alone.
    folder : Path
        Where prepared cases of the run lie.
    transforms : sequence of callable, optional
        A person's own, after the plan's.
    progress : Progress, optional
        Called before each case; may raise `Cancelled`.
    """
    prepared = []
    for done, case in enumerate(cases):
        progress(done, len(cases), "preparing")
        prepared.append(_prepare_case(dataset, case, plan, folder, transforms))
    return tuple(prepared)


def _prepare_case(
    dataset: Dataset, case: Case, plan: Plan, folder: Path, transforms: Sequence[Transform]
) -> HeldOutCase:
    files = [folder / f"{case.name}.{part}.npy" for part in ("image", "truth", "affine", "box")]
    image_file, truth_file, affine_file, box_file = files
    if stored_arrays(files) is None:
        scan, truth = dataset.read(case)
        image_CIJK, placement = prepare_image(scan, plan, transforms)
        folder.mkdir(parents=True, exist_ok=True)
        save_array(image_file, image_CIJK.numpy())
        save_array(truth_file, truth.values)
        save_array(affine_file, scan.grid.affine)
        box = placement.box or [slice(0, n) for n in scan.grid.shape]
        save_array(box_file, np.array([(span.start, span.stop) for span in box]))
    values = np.load(truth_file, mmap_mode="r")
    grid = Grid(values.shape, np.load(affine_file))
    truth = LabelMap(values, grid, dataset.annotated)
    box = tuple(slice(*span) for span in np.load(box_file).tolist())
    return HeldOutCase(case.name, truth, image_file, box)
