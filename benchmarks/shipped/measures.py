"""What is measured of a shipped model beside Dice; a sentence each, for its card.

A function takes the dataset and, by case, the predictor whose training did not see it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from tasks.datasets import SHARED, rows_of
from tasks.tumour_free import halves_doubled

from medseg.inference import Predictor
from medseg.metrics import circumferences_mm
from medseg.reading import read_labels, read_scan
from medseg.training import Case, Dataset
from medseg.volume import Grid, Scan

Seers = Mapping[str, Predictor]
END = 2
"""Slices at each end of a stack that count as its end."""


def circumference(dataset: Dataset, predictors: Seers) -> str:
    """Measured head circumference against the one that was measured by hand."""
    rows = rows_of("fetal_head_us")
    errors, relative = [], []
    for case in cases_of(dataset, predictors):
        scan, _ = dataset.read(case)
        (measured,) = circumferences_mm(predictors[case.name].predict(scan)).values()
        by_hand = float(rows[case.name]["head_circumference_mm"])
        errors.append(measured - by_hand)
        relative.append(abs(measured - by_hand) / by_hand)
    return (
        f"Head circumference on {len(errors)} held-out pictures against the hand: mean absolute"
        f" error {np.abs(errors).mean():.1f} mm ({100 * np.median(relative):.1f} % in the median),"
        f" mean difference {np.mean(errors):+.1f} mm, limits of agreement"
        f" {np.mean(errors) - 1.96 * np.std(errors):+.1f} to"
        f" {np.mean(errors) + 1.96 * np.std(errors):+.1f} mm."
    )


def by_slice_position(dataset: Dataset, predictors: Seers) -> str:
    """Dice within the slices at the ends of the stacks, and between them."""
    dice: dict[str, list[float]] = {"end": [], "middle": []}
    for case in cases_of(dataset, predictors):
        scan, truth = dataset.read(case)
        predicted = predictors[case.name].predict(scan).values > 0
        axis = int(np.argmax(scan.grid.spacing_mm))
        slices = zip(
            np.moveaxis(predicted, axis, 0), np.moveaxis(truth.values > 0, axis, 0), strict=True
        )
        count = predicted.shape[axis]
        for number, (ours, drawn) in enumerate(slices):
            place = "end" if min(number, count - 1 - number) < END else "middle"
            dice[place].append(2 * float((ours & drawn).sum()) / float(ours.sum() + drawn.sum()))
    end, middle = (statistics.mean(dice[place]) for place in ("end", "middle"))
    return (
        f"Mean Dice slice by slice: {end:.3f} in the two slices at each end of a stack,"
        f" {middle:.3f} in those between."
    )


def false_tumours(dataset: Dataset, predictors: Seers) -> str:
    """How often a tumour is drawn where there is none: made slices, and slices of a real scan."""
    flagged = count = 0
    for case in cases_of(dataset, predictors):
        scan, _ = dataset.read(case)
        for name, image, label in halves_doubled(SHARED / "brain_tumor_t1ce", case.name):
            if name.endswith("_free") and not label.any():
                voxels = np.ascontiguousarray(image.T[np.newaxis, :, :, np.newaxis])
                predicted = predictors[case.name].predict(replace(scan, voxels=voxels))
                flagged, count = flagged + bool(predicted.values.any()), count + 1
    slices = tumour_free_slices()
    real = [bool(predictors[min(predictors)].predict(scan).values.any()) for scan in slices]
    return (
        f"Something was drawn into {flagged} of {count} tumour-free slices made of held-out ones,"
        f" and into {sum(real)} of {len(real)} slices, away from the tumour, of one real scan of"
        " another source."
    )


def tumour_free_slices() -> list[Scan]:
    """Axial slices of the contrast-enhanced T1 scan of pyradiomics two or more from its tumour."""
    folder = SHARED / "mr_pyradiomics"
    scan = read_scan(folder / "brain1_image.nrrd")
    drawn = read_labels(folder / "brain1_label.nrrd").values.any(axis=(0, 1))
    near = np.convolve(drawn, np.ones(5), "same") > 0
    kept = [k for k in np.flatnonzero(~near) if scan.voxels[..., k].std() > 0]
    slices = []
    for k in kept:
        shift = np.eye(4)
        shift[2, 3] = k
        grid = Grid((*scan.grid.shape[:2], 1), scan.grid.affine @ shift)
        slices.append(replace(scan, voxels=scan.voxels[..., k : k + 1], grid=grid))
    return slices


def cases_of(dataset: Dataset, predictors: Seers) -> list[Case]:
    """The cases for which there is a predictor."""
    return [case for case in dataset.cases if case.name in predictors]
