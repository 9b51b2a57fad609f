"""Dice of a model on scans as they are, padded, cropped, and with other intensities.

    python benchmarks/padded_scans.py [--model hippocampus-mr] [--cases 42] [--crop none|padding]

Every held-out case of fold 0 is changed in one way, labelled, and measured where the case itself
lies; `--crop` takes the place of what the model's plan says. Needs ../shared/data/hippocampus.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from medseg.inference import Predictor
from medseg.metrics import overlap
from medseg.training import open_dataset
from medseg.volume import Grid, LabelMap, Scan

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "hippocampus"
LABELS = {1: "anterior", 2: "posterior"}
Changed = tuple[Scan, LabelMap]


def padded(before: int, after: int, value: float | None = 0) -> Callable[[Scan, LabelMap], Changed]:
    """A change: voxels of a value (of the scan's smallest less 100 for None) on the six sides."""

    def change(scan: Scan, truth: LabelMap) -> Changed:
        fill = float(scan.voxels.min()) - 100 if value is None else value
        sides = ((before, after),) * 3
        voxels = np.pad(scan.voxels.astype(np.float32), ((0, 0), *sides), constant_values=fill)
        affine = scan.grid.affine.copy()
        affine[:3, 3] = scan.grid.to_world([-before] * 3)
        grid = Grid(voxels.shape[1:], affine)
        return replace(scan, voxels=voxels, grid=grid), replace(
            truth, values=np.pad(truth.values, sides), grid=grid
        )

    return change


def cropped(share: float) -> Callable[[Scan, LabelMap], Changed]:
    """A change: a share of each axis is gone, half of it on each side."""

    def change(scan: Scan, truth: LabelMap) -> Changed:
        low = [int(n * share / 2) for n in scan.grid.shape]
        box = tuple(slice(a, n - a) for a, n in zip(low, scan.grid.shape, strict=True))
        voxels = scan.voxels[(slice(None), *box)]
        affine = scan.grid.affine.copy()
        affine[:3, 3] = scan.grid.to_world(low)
        grid = Grid(voxels.shape[1:], affine)
        return replace(scan, voxels=voxels, grid=grid), replace(
            truth, values=truth.values[box], grid=grid
        )

    return change


def scaled(factor: float, offset: float) -> Callable[[Scan, LabelMap], Changed]:
    """A change: other intensities."""
    return lambda scan, truth: (
        replace(scan, voxels=scan.voxels.astype(np.float32) * factor + offset),
        truth,
    )


CHANGES: dict[str, Callable[[Scan, LabelMap], Changed]] = {
    "as it is": scaled(1, 0),
    "8 zeros around it": padded(8, 8),
    "8 zeros on one side of each axis": padded(0, 8),
    "30 zeros around it": padded(30, 30),
    "8 of its smallest value - 100": padded(8, 8, None),
    "8 of -1024": padded(8, 8, -1024),
    "cropped by 25 % of each axis": cropped(0.25),
    "intensities x 10": scaled(10, 0),
    "intensities + 1000": scaled(1, 1000),
}


def dice(predictor: Predictor, pairs: Sequence[Changed]) -> list[float]:
    """Mean Dice of each label over scans."""
    rows = [overlap(predictor.predict(scan), truth) for scan, truth in pairs]
    return [float(np.mean([row[name].dice for row in rows])) for name in LABELS.values()]


def main() -> None:
    """Change, label, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="hippocampus-mr")
    parser.add_argument("--cases", type=int, default=42)
    parser.add_argument("--crop", choices=("none", "padding"))
    parser.add_argument("--only", nargs="*", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data, labels=LABELS, modality="MR")
    cases = [dataset.read(case) for case in dataset.fold(0)[1][: arguments.cases]]
    predictor = Predictor.load(arguments.model, device="cpu")
    if arguments.crop:
        plan = msgspec.structs.replace(predictor.plan, crop=arguments.crop)
        predictor = replace(predictor, plan=plan)
    print(f"{arguments.model}, {len(cases)} held-out cases of fold 0")
    print(f"{'':34}{'  '.join(LABELS.values())}")
    for name in arguments.only:
        scores = dice(predictor, [CHANGES[name](*case) for case in cases])
        print(f"{name:34}{'  '.join(f'{score:9.4f}' for score in scores)}", flush=True)


if __name__ == "__main__":
    main()
