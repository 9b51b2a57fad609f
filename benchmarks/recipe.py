"""What makes a short training good: one change at a time, for equal processor time, on two tasks.

    python benchmarks/recipe.py [--minutes 4] [--seeds 0 1] [--tasks hippocampus fetal_head]
                                [--form "width=0.5" "batch=1 rate=4e-2" ...]

One core and a process for each row, on fold 1: fold 0 judges the networks and the peers, so no
choice is made on it. A form changes the standard recipe by words of `medseg.training.recipe.Recipe`
(`width`, `ema_decay`, `schedule`, `optimizer`, `augmentation`, `deep_supervision`...), and by
`batch`, `rate` and settings of the network as `set.convolutions=1`. What was measured already is
kept in runs/recipe; the table goes to benchmarks/results/recipe.md. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs
from tasks.datasets import TASKS
from tasks.evaluation import Printer, processor_seconds

from medseg.metrics.scores import mean_named
from medseg.model_package import ModelPackage
from medseg.training import TrainingOptions, train
from medseg.training.recipe import Recipe
from medseg.volume.label_table import MEAN

HERE = Path(__file__).resolve().parent
FORMS = (
    "",
    "width=0.5",
    "width=1.5",
    "batch=1",
    "batch=4",
    "rate=1e-2",
    "rate=4e-2",
    "schedule=cosine",
    "optimizer=adamw rate=2e-3",
    "optimizer=sgd rate=1e-2",
    "ema_decay=0.99",
    "augmentation=none",
    "augmentation=light",
    "augmentation=strong",
    "deep_supervision=false",
    "foreground_share=0.33",
    "set.convolutions=1",
)
FOLD = 1


def main() -> None:
    """Measure the rows that are new, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="of processor time")
    parser.add_argument("--form", nargs="+", default=list(FORMS))
    parser.add_argument("--tasks", nargs="+", default=["hippocampus", "fetal_head"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--runs", type=Path, default=Path("runs/recipe"))
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        measure(json.loads(arguments.row), arguments.runs)
        return
    for seed in arguments.seeds:
        for task in arguments.tasks:
            for form in arguments.form:
                row = {"task": task, "minutes": arguments.minutes, "form": form, "seed": seed}
                if not row_file(arguments.runs, row).is_file():
                    in_process(row, arguments.runs)
    keep(arguments.runs)


def in_process(row: dict[str, Any], runs: Path) -> None:
    """Measure a row in a process of its own, on one core."""
    command = [sys.executable, __file__, "--row", json.dumps(row), "--runs", str(runs)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def row_file(runs: Path, row: dict[str, Any]) -> Path:
    """Where one row is kept."""
    form = row["form"].replace(" ", "_") or "standard"
    return runs / f"{row['task']}_{row['minutes']:g}min_{form}_seed{row['seed']}.json"


def measure(row: dict[str, Any], runs: Path) -> None:
    """Train as the form says, or go on with it; the row becomes a file."""
    dataset = TASKS[row["task"]].make(runs / f"data-{row['task']}")
    target = row_file(runs, row)
    run = target.with_suffix("")
    options = changed_options(row["form"], row["seed"])
    counted = target.with_suffix(".seconds")
    if not counted.is_file():
        seconds = processor_seconds(dataset, target.with_suffix(".counting"), options)
        counted.write_text(f"{seconds}")
    seconds = float(counted.read_text())
    options = structs.replace(options, steps=max(1, int(row["minutes"] * 60 / seconds)))
    resume = (run / "options.json").is_file()
    train(dataset, run, options=options, resume=resume, progress=Printer())
    scores = ModelPackage.open(run / "model").manifest.scores
    target.write_text(json.dumps({**row, "steps": options.steps, "step_s": seconds, **scores}))


def changed_options(form: str, seed: int) -> TrainingOptions:
    """The standard recipe of a long run, with the changes of a form."""
    changes: dict[str, Any] = dict(part.split("=") for part in form.split())
    settings = {key[4:]: json.loads(changes.pop(key)) for key in [*changes] if key[:4] == "set."}
    if "deep_supervision" in changes:
        changes["deep_supervision"] = changes["deep_supervision"] == "true"
    given: dict[str, Any] = {}
    if "batch" in changes:
        given["batch"] = int(changes.pop("batch"))
    if "rate" in changes:
        given["learning_rate"] = float(changes.pop("rate"))
    return TrainingOptions(
        steps=1,
        fold=FOLD,
        device="cpu",
        validations=0,
        seed=seed,
        settings=settings,
        recipe=msgspec.convert(changes, Recipe, strict=False),
        **given,
    )


def keep(runs: Path) -> None:
    """Print and write all rows that were ever measured, the best of each task first."""
    rows = [mean_named(json.loads(path.read_text())) for path in sorted(runs.glob("*_seed?.json"))]
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["minutes"], row["form"]), []).append(row)
    text = "# Recipes for equal processor time, one core, fold 1\n\n"
    text += "| task | minutes | form | steps | s a step | mean Dice | by seed |\n"
    text += "|---|---|---|---|---|---|---|\n"
    lines = []
    for (task, minutes, form), measured in groups.items():
        dice = [row[MEAN] for row in sorted(measured, key=lambda row: row["seed"])]
        mean, first = sum(dice) / len(dice), measured[0]
        by_seed = " ".join(f"{value:.4f}" for value in dice)
        cells = f"| {task} | {minutes:g} | {form or 'standard'} | {first['steps']} |"
        line = f"{cells} {first['step_s']:.2f} | {mean:.4f} | {by_seed} |\n"
        lines.append((task, minutes, -mean, line))
    text += "".join(line for *_, line in sorted(lines))
    print(text)
    (HERE / "results" / "recipe.md").write_text(text)


if __name__ == "__main__":
    main()
