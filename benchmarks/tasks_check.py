"""Whether every task can be trained on as it is: cases, folds, sizes, spacing, findings.

    python benchmarks/tasks_check.py [--task chest ...] [--tasks runs/tasks]

Each task is opened by medseg's own `open_dataset` and looked at as `medseg dataset check` does, its
folds are compared with those of ``splits.json``, and a plan is made for a CPU. What was looked at
is kept in the folder of the task, so the script can be stopped and started. The table goes to
benchmarks/results/tasks_check.md. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tasks.datasets import TASKS

from medseg.networks import suggestion
from medseg.planning import make_plan
from medseg.planning.fingerprint import fingerprint_of
from medseg.planning.planner import CPU_BUDGET
from medseg.training import Dataset
from medseg.training.dataset_check import look_at

HERE = Path(__file__).resolve().parent
COLUMNS = ("task", "cases", "folds", "size", "spacing", "patch", "batch", "findings")


def main() -> None:
    """Look at the tasks that are new, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--tasks", type=Path, default=Path("runs/tasks"))
    arguments = parser.parse_args()
    for task in arguments.task:
        target = arguments.tasks / task / "check.json"
        if not target.is_file():
            print(f"== {task}", flush=True)
            dataset = TASKS[task].make(arguments.tasks / task / "dataset")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps({"task": task, **row_of(dataset)}) + "\n")
    files = [arguments.tasks / task / "check.json" for task in TASKS]
    rows = [json.loads(file.read_text()) for file in files if file.is_file()]
    lines = [" | ".join(row[column] for column in COLUMNS) for row in rows]
    head = [" | ".join(COLUMNS), "|".join(["---"] * len(COLUMNS))]
    text = "".join(f"| {line} |\n" for line in (*head, *lines))
    print(text)
    (HERE / "results" / "tasks_check.md").write_text(text)


def row_of(dataset: Dataset) -> dict[str, str]:
    """What the table says of a dataset."""
    look = look_at(dataset)
    look.report.check()
    sketches = [look.sketches[case.name] for case in dataset.fold(0)[0]]
    fingerprint = fingerprint_of(sketches)
    plan = make_plan(
        fingerprint, budget=CPU_BUDGET, network=suggestion("unet"), labels=dataset.labels
    )
    counts = {name: len(look.report.of(name)) for name in ("error", "warning", "note")}
    codes = sorted({found.code for found in look.report.findings})
    return {
        "cases": str(len(dataset.cases)),
        "folds": f"{len(dataset.folds)}, {'as' if as_in_file(dataset) else 'NOT as'} in the file",
        "size": ranged([sketch.shape for sketch in sketches]),
        "spacing": ranged([sketch.spacing_mm for sketch in sketches])
        + ("" if all(facts.has_physical_size for facts in look.report.cases) else " (a pixel)"),
        "patch": times(plan.patch),
        "batch": str(plan.batch),
        "findings": ", ".join(f"{n} {name}(s)" for name, n in counts.items())
        + (f": {', '.join(codes)}" if codes else ""),
    }


def as_in_file(dataset: Dataset) -> bool:
    """Whether the folds hold out what ``splits.json`` of the folder says."""
    if dataset.source is None:
        folder = dataset.cases[0].images[0].parent.parent
    else:
        folder = Path(dataset.source.path)
    splits = json.loads((folder / "splits.json").read_text())
    stated = [set(fold["val"]) for fold in splits["folds"]]
    return stated == [set(fold.validation) for fold in dataset.folds]


def ranged(rows: list[tuple[float, ...]]) -> str:
    """Medians along the axes, and from where to where they go."""
    table = np.asarray(rows, float)
    middle = times(np.median(table, axis=0))
    low, high = times(table.min(axis=0)), times(table.max(axis=0))
    return middle if low == high else f"{middle} ({low} to {high})"


def times(values: object) -> str:
    """Numbers with crosses between them."""
    return " x ".join(f"{value:.3g}" for value in np.asarray(values, float))


if __name__ == "__main__":
    main()
