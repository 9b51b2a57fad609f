"""Click curves: Dice against clicks of a robot, for every method that needs no training.

    OMP_NUM_THREADS=1 python benchmarks/interactive.py [--cases 8] [--model FOLDER] [--only WORD]

Tasks of ../shared/data: the hippocampus (fold 0; anterior and posterior, each by itself) from the
mask of a model and from nothing, the spinal cord, the left ventricle and the structures of a brain
from nothing. The shipped model was trained on all hippocampus cases; `--model` takes one that was
trained without fold 0. Two robots: one clicks in the middle of the largest error (CVPR 2025), one
misses it. "brush" stamps a ball that reaches to the surface it corrects. The AUC is by the
trapezoid over 0 to 4 clicks, at most 4; a structure that never gets to a Dice counts with 10
clicks; the gain is that of masks that were there and below .85, and how many. Seconds are of the
processor, for one click. Writes results/interactive.md, unless only some tasks are asked for.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.editing import ball
from medseg.inference import Predictor
from medseg.interactive import METHODS, Prompt, RobotUser, Session
from medseg.reading import read_labels, read_scan
from medseg.runtime.processor import processor_name
from medseg.training import open_dataset
from medseg.volume import LabelMap, LabelTable, Scan

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared" / "data"
RESULT = HERE / "results" / "interactive.md"
CLICKS = 10
SHOWN = (0, 1, 3, 5, 10)
AREA = 5
TABLE = LabelTable.of({1: "structure"})
BRUSH = "brush"

Mask = npt.NDArray[np.bool_]


class Structure(NamedTuple):
    """One structure of one scan: what is true, and what a robot starts from."""

    scan: Scan
    truth: Mask
    start: Mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--model", default="hippocampus-mr")
    parser.add_argument("--only", default="", help="a word of the names of the tasks")
    parser.add_argument("--methods", nargs="+", default=[BRUSH, *METHODS])
    arguments = parser.parse_args()
    rows = [HEADER, "|---|---|---|" + "---|" * (HEADER.count("|") - 4)]
    print("\n".join(rows))
    for task, structures in tasks(arguments.model, arguments.cases).items():
        if arguments.only not in task:
            continue
        every = list(structures())
        for method in arguments.methods:
            for jittered in (False, True):
                row = row_of(every, method, jittered=jittered)
                rows.append(f"| {task} ({len(every)}) | {method} | {row}")
                print(rows[-1], flush=True)
    if arguments.only:
        return
    RESULT.write_text(
        f"# Click curves\n\n`python benchmarks/interactive.py --cases {arguments.cases}"
        f" --model {Path(arguments.model).name}`, {processor_name()}, one thread, Python"
        f" {platform.python_version()}. Mean over the structures (how many, in brackets).\n\n"
        + "\n".join(rows)
        + "\n"
    )
    print(f"written to {RESULT}")


HEADER = (
    "| task | method | robot | "
    + " | ".join(f"Dice {n}" for n in SHOWN)
    + " | AUC | clicks to .85 | to .90 | gain in 3 below .85 | s a click |"
)


def row_of(structures: list[Structure], method: str, *, jittered: bool) -> str:
    """The numbers of one method, as the end of a row."""
    started = time.process_time()
    curves = [
        curve(structure, method, jitter=number if jittered else None)
        for number, structure in enumerate(structures)
    ]
    seconds = (time.process_time() - started) / (len(curves) * CLICKS)
    mean = np.mean(curves, axis=0)
    area = float(np.mean([np.trapezoid(dice[:AREA]) for dice in curves]))
    needed = [np.mean([clicks_to(dice, goal) for dice in curves]) for goal in (0.85, 0.90)]
    shown = " | ".join(f"{mean[n]:.3f}" for n in SHOWN)
    robot = "jittered" if jittered else "ideal"
    poor = [dice[3] - dice[0] for dice in curves if 0 < dice[0] < 0.85]
    gain = f"{np.mean(poor):+.3f} ({len(poor)})" if poor else ""
    return (
        f"{robot} | {shown} | {area:.2f} | {needed[0]:.1f} | {needed[1]:.1f} | {gain}"
        f" | {seconds:.2f} |"
    )


def clicks_to(dice: npt.NDArray[Any], goal: float) -> int:
    """After how many clicks the goal is reached; all of them when it is not."""
    reached = np.flatnonzero(dice >= goal)
    return int(reached[0]) if reached.size else CLICKS


def curve(structure: Structure, method: str, *, jitter: int | None) -> npt.NDArray[np.float64]:
    """Dice after 0, 1... clicks."""
    grid = structure.scan.grid
    robot = RobotUser(structure.truth, grid, 1, jitter=jitter)
    labels = LabelMap(structure.start.astype(np.uint8), grid, TABLE)
    session = Session(structure.scan, labels, method="graph_cut" if method == BRUSH else method)
    dice = [overlap(structure.start, structure.truth)]
    for _ in range(CLICKS):
        mask = session.values == 1
        prompt = robot.click(mask)
        if prompt is not None and method == BRUSH:
            brush(session, prompt)
        elif prompt is not None:
            session.add(prompt)
        dice.append(overlap(session.values == 1, structure.truth))
    return np.array(dice)


def brush(session: Session, prompt: Prompt) -> None:
    """The click as a ball that reaches to the surface it corrects: what no method must lose to."""
    proposal = session.propose(prompt)
    grid = session.scan.grid
    radius_mm = proposal.mark.reach_mm
    footprint = ball(radius_mm, grid.spacing_mm)
    signs = np.zeros(grid.shape, np.int8)
    whole = tuple(slice(0, size) for size in grid.shape)
    proposal.mark.paint_around(signs, whole, 1, footprint)
    after = np.where(signs > 0, int(prompt.positive), session.values).astype(np.uint8)
    session.edit(type(proposal.edit)(whole, after))


def overlap(mask: Mask, truth: Mask) -> float:
    """Dice of two masks, one of which has voxels."""
    return float(2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()))


def tasks(model: str, cases: int) -> dict[str, Callable[[], Iterator[Structure]]]:
    """The structures of each task, read when they are asked for."""
    return {
        "hippocampus, from a model": lambda: hippocampus(cases, model),
        "hippocampus, from nothing": lambda: hippocampus(cases, None),
        "spinal cord, from nothing": cord,
        "left ventricle, from nothing": lambda: ventricle(cases),
        "brain structures, from nothing": brain,
    }


def structures_of(scan: Scan, truth: LabelMap, start: LabelMap | None) -> Iterator[Structure]:
    """Each label of a truth that has voxels."""
    for label in truth.table.values:
        true = truth.values == label
        if true.any():
            begun = np.zeros_like(true) if start is None else start.values == label
            yield Structure(scan, true, begun)


def hippocampus(cases: int, model: str | None) -> Iterator[Structure]:
    dataset = open_dataset(
        SHARED / "hippocampus", labels={1: "anterior", 2: "posterior"}, modality="MR"
    )
    predictor = None if model is None else Predictor.load(model, device="cpu")
    held_out = dataset.fold(0)[1]
    for case in held_out[:: max(1, len(held_out) // cases)][:cases]:
        scan, truth = read_scan(case.images[0]), read_labels(case.label)
        yield from structures_of(
            scan, truth, None if predictor is None else predictor.predict(scan)
        )


def cord() -> Iterator[Structure]:
    folder = SHARED / "spinal_cord_mr"
    for image, mask in (
        ("t1/t1w.nii.gz", "t1/t1w_seg-manual.nii.gz"),
        ("t2/t2.nii.gz", "t2/t2_seg-manual.nii.gz"),
    ):
        yield from structures_of(read_scan(folder / image), read_labels(folder / mask), None)


def ventricle(cases: int) -> Iterator[Structure]:
    folder = SHARED / "cardiac_lv_mr"
    files = sorted((folder / "images").iterdir())
    for image in files[:: max(1, len(files) // cases)][:cases]:
        truth = read_labels(folder / "labels" / image.name)
        yield from structures_of(read_scan(image), truth, None)


def brain() -> Iterator[Structure]:
    folder = SHARED / "brain_mr_itksnap"
    scan = read_scan(folder / "MRIcrop-orig.gipl.gz")
    yield from structures_of(scan, read_labels(folder / "MRIcrop-seg.gipl.gz"), None)


if __name__ == "__main__":
    main()
