"""Batch size, width and learning rate of the U-Net for equal processor time: hippocampus, fold 1.

    python benchmarks/recipe.py [--minutes 8] [--form "batch=2" "batch=2 rate=4e-3" ...]

One core and a process for each form. Fold 1 and not fold 0, which benchmarks/networks.py measures:
the recipe must not be chosen on the cases that judge it. What was measured already is kept in
runs/recipe; the table goes to benchmarks/results/recipe.md. Needs ../shared/data/hippocampus.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from msgspec import structs
from tasks.datasets import hippocampus
from tasks.evaluation import Printer, processor_seconds

from medseg.metrics.scores import mean_named
from medseg.model_package import ModelPackage
from medseg.networks import suggestion
from medseg.planning import Plan, make_plan, take_fingerprint
from medseg.planning.planner import CPU_BUDGET
from medseg.training import Dataset, TrainingOptions, train
from medseg.volume.label_table import MEAN

HERE = Path(__file__).resolve().parent
FORMS = (
    "batch=4",
    "batch=2",
    "batch=1",
    "batch=2 rate=1e-3",
    "batch=2 rate=4e-3",
    "batch=2 features=24,48,96,128",
)
FOLD = 1


def main() -> None:
    """Measure the forms that are new, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="of processor time")
    parser.add_argument("--form", nargs="+", default=list(FORMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/recipe"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.form[0], arguments.minutes, arguments.runs)
        return
    for form in arguments.form:
        if not row_file(arguments.runs, form, arguments.minutes).is_file():
            subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--one",
                    "--form",
                    form,
                    "--runs",
                    arguments.runs,
                    "--minutes",
                    f"{arguments.minutes:g}",
                ],
                check=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
    keep(arguments.runs)


def row_file(runs: Path, form: str, minutes: float) -> Path:
    """Where one row is kept."""
    return runs / f"{form.replace(' ', '_')}_{minutes:g}min.json"


def measure(form: str, minutes: float, runs: Path) -> None:
    """Train by the planner's plan, changed as the form says; the row becomes a file."""
    dataset = hippocampus(runs)
    changes = dict(part.split("=") for part in form.split())
    plan = changed_plan(dataset, changes)
    options = TrainingOptions(
        steps=1,
        fold=FOLD,
        device="cpu",
        validations=0,
        learning_rate=float(changes.get("rate", "2e-3")),
    )
    target = row_file(runs, form, minutes)
    run = target.with_suffix("")
    seconds = processor_seconds(dataset, target.with_suffix(".counting"), options, plan=plan)
    options = structs.replace(options, steps=int(minutes * 60 / seconds))
    train(dataset, run, options=options, plan=plan, progress=Printer())
    scores = ModelPackage.open(run / "model").manifest.scores
    row = {"form": form, "minutes": minutes, "steps": options.steps, "step_s": seconds, **scores}
    target.write_text(json.dumps(row) + "\n")


def changed_plan(dataset: Dataset, changes: dict[str, str]) -> Plan:
    """The planner's plan for the fold, with the form's batch and features."""
    fingerprint = take_fingerprint(dataset.read(case) for case in dataset.fold(FOLD)[0])
    features = [int(n) for n in changes.get("features", "").split(",") if n]
    network = suggestion("unet", {"features": features} if features else {})
    plan = make_plan(fingerprint, budget=CPU_BUDGET, network=network, labels=dataset.labels)
    return structs.replace(plan, batch=int(changes["batch"]))


def keep(runs: Path) -> None:
    """Print and write all rows that were ever measured, the best first."""
    rows = [mean_named(json.loads(path.read_text())) for path in runs.glob("*min.json")]
    text = "| form | minutes | steps | s a step | mean Dice | anterior | posterior |\n"
    text += "|---|---|---|---|---|---|---|\n"
    for row in sorted(rows, key=lambda row: (row["minutes"], -row[MEAN])):
        dice = " | ".join(f"{row[name]:.3f}" for name in (MEAN, "anterior", "posterior"))
        text += f"| {row['form']} | {row['minutes']:g} | {row['steps']} | {row['step_s']:.2f} |"
        text += f" {dice} |\n"
    print(text)
    (HERE / "results" / "recipe.md").write_text(text)


if __name__ == "__main__":
    main()
