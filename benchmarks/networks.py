"""FCN, U-Net, DeepLab and PSPNet by one recipe in the same time: Dice, cost, speed, with CRF.

    python benchmarks/networks.py [--task hippocampus ...] [--network unet ...] [--minutes 12]

Every network trains from nothing for the task's minutes of *processor time* on one core, in a
process of its own, and is then measured on the held-out cases, on their own grids, with the packed
model. Processor time and not the clock, so that other work on the machine takes nothing from any
network. What was measured already (the same minutes) is not measured again, and an interrupted
training goes on, so the script can be stopped and started, and run once for each core.
Results: benchmarks/results/networks.json and .md (`--table` makes them anew from what is there):
one table of the mean Dice on all tasks, then all figures task by task.
Needs ../shared/data for all tasks but the phantom.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks.datasets import TASKS, retina_second_observer

from medseg.metrics.scores import mean_named
from medseg.volume.label_table import MEAN

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
NETWORKS = ("fcn", "unet", "deeplab", "pspnet")
COLUMNS = {
    "network": "network",
    "dice": "Dice",
    "iou": "IoU",
    "hd95_mm": "HD95",
    "mirrored": "Dice, mirrored",
    "half_plain": "half: plain",
    "half_crf": "half: CRF",
    "half_fitted": "half: fitted",
    "parameters_m": "params, M",
    "gflops": "GFLOP a patch",
    "ms_patch": "ms a patch",
    "steps_s": "steps/s",
    "steps": "steps",
    "peak_gib": "peak GiB",
}
FORMATS = {
    "iou": ".3f",
    "hd95_mm": ".1f",
    "mirrored": ".3f",
    "half_plain": ".4f",
    "half_crf": ".4f",
    "half_fitted": ".4f",
}


def main() -> None:
    """Measure what is asked for and not there, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--network", nargs="+", default=list(NETWORKS))
    parser.add_argument(
        "--minutes", type=float, help="of processor time for training, in place of the task's"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/networks"))
    parser.add_argument("--table", action="store_true", help="measure nothing, make the table")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure_one(arguments)
        return
    for task in () if arguments.table else arguments.task:
        for network in arguments.network:
            minutes = arguments.minutes or TASKS[task].minutes
            measure_if_new(arguments.runs, task, network, minutes)
    keep(arguments.runs)


def measure_if_new(runs: Path, task: str, network: str, minutes: float) -> None:
    """Start a process for one row, unless the row is there and whole."""
    target = row_file(runs, task, network, minutes)
    if target.is_file() and "mirrored" in json.loads(target.read_text()):
        return
    print(f"== {task}, {network}, {minutes:g} min", flush=True)
    subprocess.run(
        [
            sys.executable,
            __file__,
            "--one",
            target,
            "--task",
            task,
            "--network",
            network,
            "--minutes",
            f"{minutes:g}",
            "--runs",
            runs,
        ],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def row_file(runs: Path, task: str, network: str, minutes: float) -> Path:
    """Where one row is kept until the table is made."""
    return runs / task / f"{network}-{minutes:g}min.json"


def measure_one(arguments: argparse.Namespace) -> None:
    """Train and measure one network on one task; the row becomes a file."""
    from tasks.evaluation import train_and_evaluate, with_tta

    (task,), (network,) = arguments.task, arguments.network
    dataset = TASKS[task].make(arguments.runs / task / "dataset")
    run = arguments.one.with_suffix("")
    if arguments.one.is_file():  # by a version of this script that did not mirror
        row = json.loads(arguments.one.read_text()) | with_tta(run, dataset)
    else:
        row = train_and_evaluate(dataset, run, network=network, minutes=arguments.minutes)
    arguments.one.write_text(json.dumps({"network": network, **row}, indent=1) + "\n")


def keep(runs: Path) -> None:
    """Print and write all rows that were ever measured."""
    tables = {}
    for task in TASKS:
        rows = [json.loads(path.read_text()) for path in sorted((runs / task).glob("*min.json"))]
        if rows:
            tables[task] = {"title": TASKS[task].title, "rows": rows}
    if "retina" in tables:
        tables["retina"]["second_observer_dice"] = retina_second_observer()
    text = "\n".join([overview(tables), *(markdown(table) for table in tables.values())])
    print(text)
    (RESULTS / "networks.json").write_text(json.dumps(tables, indent=1) + "\n")
    (RESULTS / "networks.md").write_text(text)


def overview(tables: dict[str, dict[str, Any]]) -> str:
    """Mean Dice of the networks on all tasks, for the same minutes in a line."""
    networks = [*NETWORKS]
    dice: dict[tuple[str, float], dict[str, float]] = {}
    for table in tables.values():
        for row in table["rows"]:
            line = dice.setdefault((table["title"], row["minutes"]), {})
            line[row["network"]] = mean_named(row["dice"])[MEAN]
            networks += [row["network"]] if row["network"] not in networks else []
    lines = ["### Mean Dice", "", "| task | min | " + " | ".join(networks) + " |"]
    lines.append("|---" * (2 + len(networks)) + "|")
    for (title, minutes), line in dice.items():
        best = max(line.values())
        cells = [f"{line[name]:.3f}" if name in line else "" for name in networks]
        cells = [f"**{cell}**" if cell == f"{best:.3f}" else cell for cell in cells]
        lines.append(f"| {title} | {minutes:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def markdown(table: dict[str, Any]) -> str:
    """One task's rows, best Dice first."""
    lines = [f"### {table['title']}", ""]
    lines += [
        "| " + " | ".join(["min", *COLUMNS.values()]) + " |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    order = sorted(table["rows"], key=lambda row: (-row["minutes"], -mean_named(row["dice"])[MEAN]))
    for row in order:
        cells = [cell(row, key) for key in COLUMNS]
        lines.append(f"| {row['minutes']:g} | " + " | ".join(cells) + " |")
    if "second_observer_dice" in table:
        lines += ["", f"The second observer's Dice: {table['second_observer_dice']:.3f}."]
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any], key: str) -> str:
    """One number as text; means over labels for the scores."""
    value = row.get(key)
    if value is None:
        return "no step helped" if key == "half_fitted" else ""
    if key == "dice":
        *each, mean = mean_named(value).values()
        parts = "/".join(f"{dice:.3f}" for dice in each)
        return f"{mean:.3f}" + (f" ({parts})" if len(each) == 2 else "")
    if key in FORMATS:
        number = mean_named(value)[MEAN] if isinstance(value, dict) else value
        return format(number, FORMATS[key])
    return value if isinstance(value, str) else f"{value:.4g}"


if __name__ == "__main__":
    main()
