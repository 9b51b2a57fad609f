"""A dataset small enough to train on in seconds: bright and brighter boxes in noise."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.planning import Component, Normalisation, Plan

TOY_PLAN = Plan(
    spacing_mm=(1.2, 1.2, 1.2),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 16, 16),
    batch=2,
    network=Component(
        name="unet",
        settings={"features": [8, 16], "strides": [[1] * 3, [2] * 3], "kernels": [[3] * 3] * 2},
    ),
)
"""For a network that learns the boxes in a hundred steps, a second or two."""


def write_toy(folder: Path, *, cases: int = 6) -> Path:
    """Plain images/ and labels/ with a labels.json; returns `folder`."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "labels.json").write_text('{"1": "box", "2": "core"}')
    for number in range(cases):
        image, labels = toy_case(number)
        for part, array in (("images", image), ("labels", labels)):
            nib.save(
                nib.Nifti1Image(array, np.diag([1.2, 1.2, 1.2, 1])),
                folder / part / f"c{number}.nii.gz",
            )
    return folder


def write_toy_regions(folder: Path, *, cases: int = 6) -> Path:
    """The same boxes, the outer one being a region that holds the core; returns `folder`."""
    write_toy(folder, cases=cases)
    (folder / "labels.json").write_text(
        '{"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}'
    )
    return folder


def toy_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels of shape (20, 20, 20)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((20, 20, 20), np.uint8)
    i, j, k = rng.integers(2, 8, 3)
    labels[i : i + 10, j : j + 10, k : k + 10] = 1
    labels[i + 3 : i + 7, j + 3 : j + 7, k + 3 : k + 7] = 2
    image = labels * 100.0 + rng.normal(0, 15, labels.shape)
    return image.astype(np.float32), labels
