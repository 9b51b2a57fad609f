"""Dice of every fold of a run on the cases it did not see, plain and with mirroring.

    python benchmarks/fold_scores.py RUN TASK [--target benchmarks/results/hippocampus_folds.md]

RUN is the folder of `medseg train --folds` or of `ship_models.py`, TASK a name of `tasks.datasets`.
Plain scores are the run's own (`fold_N/held_out/scores.json`); the mirrored ones are measured on
the same cases and kept beside them, so the script goes on where it was stopped. Folds that are not
finished are left out. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from tasks.datasets import TASKS

from medseg.inference import Predictor
from medseg.metrics import overlap
from medseg.training import Dataset
from medseg.training.history import read_history
from medseg.volume.label_table import MEAN
from medseg.writing import write_text


def main() -> None:
    """Measure what is new, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--target", type=Path)
    arguments = parser.parse_args()
    dataset = TASKS[arguments.task].make(arguments.data / arguments.task)
    rows = [
        row_of(fold, dataset)
        for fold in sorted(arguments.run.glob("fold_*"))
        if (fold / "held_out" / "scores.json").is_file()
    ]
    text = table(rows)
    print(text)
    if arguments.target:
        write_text(arguments.target, text)


def row_of(fold: Path, dataset: Dataset) -> dict[str, Any]:
    """Steps, plain and mirrored mean Dice of one fold."""
    scores = json.loads((fold / "held_out" / "scores.json").read_text())
    plain = {name: each["dice"]["mean"] for name, each in scores["statistics"].items()}
    return {
        "fold": fold.name,
        "steps": read_history(fold)[-1]["step"],
        "cases": len(scores["cases"]),
        "plain": plain,
        "mirrored": mirrored(fold, dataset),
    }


def mirrored(fold: Path, dataset: Dataset) -> dict[str, float]:
    """Mean Dice over mirror images, measured once."""
    kept = fold / "held_out" / "mirrored.json"
    if not kept.is_file():
        predictor = Predictor.load(fold / "model", device="cpu", tta=True)
        by_label: dict[str, list[float]] = {}
        for case in dataset.fold(int(fold.name.rpartition("_")[2]))[1]:
            scan, truth = dataset.read(case)
            for name, score in overlap(predictor.predict(scan), truth).items():
                if score.dice is not None:
                    by_label.setdefault(name, []).append(score.dice)
        means = {name: statistics.mean(dice) for name, dice in by_label.items()}
        write_text(kept, json.dumps(means | {MEAN: statistics.mean(means.values())}) + "\n")
    return dict(json.loads(kept.read_text()))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, with the means of all folds last."""
    labels = list(rows[0]["plain"])
    columns = [f"{name}, {way}" for way in ("plain", "mirrored") for name in labels]
    lines = ["| fold | cases | steps | " + " | ".join(columns) + " |"]
    lines.append("|---" * (3 + len(columns)) + "|")
    cells = [[row[way][name] for way in ("plain", "mirrored") for name in labels] for row in rows]
    for row, dice in zip(rows, cells, strict=True):
        numbers = " | ".join(f"{value:.4f}" for value in dice)
        lines.append(f"| {row['fold']} | {row['cases']} | {row['steps']} | {numbers} |")
    means = " | ".join(f"**{statistics.mean(column):.4f}**" for column in zip(*cells, strict=True))
    lines.append(f"| mean | {sum(row['cases'] for row in rows)} | | {means} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
