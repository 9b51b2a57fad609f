"""Held-out Dice against wall-clock time of training: medseg and nnU-Net on one fold, in turn.

    python benchmarks/time_to_dice.py --nnunet-python VENV/bin/python [--minutes 10 20 40]
        [--device cpu] [--task hippocampus] [--seeds 0] [--clock wall]

Each budget is a training of its own from nothing, since schedules span it: medseg by `--minutes`,
nnU-Net by its own trainer, network, augmentation and loader, with the polynomial schedule spanning
the budget (benchmarks/rivals/nnunet/by_time.py). Both segment every held-out case of fold 0 with
mirroring (medseg also without), each by its own predictor, and are scored by the same code. One
process at a time, the two alternately, so that both meet the same machine. What comes before the
first step (imports, nnU-Net's preprocessing, its compilation on a GPU) is not in the budget; the
wall-clock time of training and predicting with it all stands beside. With `--clock processor` the
minutes of both are of processor time, on one core each, with the loaders in the same process: what
an idle core does in as many minutes, whatever else the machine does. A cell that was measured is
kept, and one that was interrupted starts again, so the script can be killed at any moment. Results:
benchmarks/results/time_to_dice.json and .md. Without `--nnunet-python` only medseg is measured.
Needs ../shared/data and an nnU-Net 2.8.1 in an environment of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from rivals.nnunet_folders import NAME, SCRIPTS, environment, prepare
from tasks.datasets import TASKS

from medseg.inference import Predictor
from medseg.metrics import overlap, summarise
from medseg.metrics.scores import label_names
from medseg.reading import read_labels
from medseg.training import Dataset, TrainingOptions, clock, train
from medseg.training.history import read_history
from medseg.volume import LabelMap
from medseg.volume.label_table import MEAN
from medseg.writing import write_text

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "time_to_dice"


def main() -> None:
    """Measure the cells that are new, each in a process of its own, then keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nnunet-python", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 20.0, 40.0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--task", default="hippocampus", choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"])
    parser.add_argument("--runs", type=Path, default=Path("runs/time_to_dice"))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments)
        return
    runs = arguments.runs.resolve()
    systems = ("medseg", "nnunet") if arguments.nnunet_python else ("medseg",)
    for minutes in arguments.minutes:
        for seed in arguments.seeds:
            for system in systems:
                device = arguments.device + ("" if arguments.clock == "wall" else "-core")
                cell = f"{arguments.task}-{device}-{minutes:g}min-{seed}-{system}"
                run_cell(runs / cell, minutes, seed, arguments)
    keep(runs)


def run_cell(run: Path, minutes: float, seed: int, arguments: argparse.Namespace) -> None:
    """Start the process of one cell, unless its row is there."""
    if row_file(run).is_file():
        return
    print(f"== {run.name}", flush=True)
    shutil.rmtree(run, ignore_errors=True)
    words: list[Any] = ["--one", run, "--minutes", minutes, "--seeds", seed]
    words += ["--device", arguments.device, "--task", arguments.task, "--runs", arguments.runs]
    words += ["--clock", arguments.clock]
    if arguments.nnunet_python:
        words += ["--nnunet-python", arguments.nnunet_python]
    one_core = {"OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": "0"}
    extra = one_core if arguments.clock == "processor" else {}
    subprocess.run([sys.executable, __file__, *map(str, words)], check=True, env=os.environ | extra)


def row_file(run: Path) -> Path:
    """Where the row of a cell is kept."""
    return run.with_name(f"{run.name}.json")


def measure(arguments: argparse.Namespace) -> None:
    """Train and score one system with one budget; the row becomes a file."""
    run: Path = arguments.one
    system = run.name.rpartition("-")[2]
    dataset = TASKS[arguments.task].make(arguments.runs / arguments.task)
    how = with_medseg if system == "medseg" else with_nnunet
    row = how(dataset, run, arguments)
    row |= {
        "task": arguments.task,
        "device": arguments.device,
        "minutes": arguments.minutes[0],
        "seed": arguments.seeds[0],
        "system": system,
        "clock": arguments.clock,
        "machine": machine(arguments.device),
    }
    write_text(row_file(run), json.dumps(row, indent=1) + "\n")


def with_medseg(dataset: Dataset, run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train as `medseg train --minutes` does, without validations on the way."""
    options = TrainingOptions(
        minutes=arguments.minutes[0],
        device=arguments.device,
        seed=arguments.seeds[0],
        validations=0,
    )
    start = time.monotonic()
    with clock_of_training(arguments.clock):
        model = train(dataset, run, options=options)
    trained = time.monotonic() - start
    history = read_history(run)
    row: dict[str, Any] = {"steps": history[-1]["step"], "seconds": history[-1]["seconds"]}
    for key, tta in (("plain", False), ("mirrored", True)):
        start = time.monotonic()
        predictor = Predictor.load(model, device=arguments.device, tta=tta)
        labels = {
            case.name: predictor.predict(dataset.read(case)[0]) for case in dataset.fold(0)[1]
        }
        row |= {key: scored(dataset, labels), f"predict_{key}_s": time.monotonic() - start}
    return row | {"train_wall_s": trained, "batch": predictor.plan.batch}


def clock_of_training(name: str) -> contextlib.AbstractContextManager[Any]:
    """What a training takes for the time."""
    if name == "wall":
        return contextlib.nullcontext()
    return mock.patch.object(clock, "time", SimpleNamespace(monotonic=time.process_time))


def with_nnunet(dataset: Dataset, run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and predict in nnU-Net's own interpreter; its label maps are read and scored here."""
    folder = arguments.runs / f"nnunet-{arguments.task}"
    raw = prepare(dataset, folder, arguments.nnunet_python)
    told = environment(folder) | {
        "nnUNet_results": str(run / "results"),
        "BUDGET_SECONDS": str(arguments.minutes[0] * 60),
        "BUDGET_CLOCK": arguments.clock,
    }
    words = (NAME, "3d_fullres", "0", arguments.device, raw / "held_out", run / "labels")
    start = time.monotonic()
    subprocess.run(
        [arguments.nnunet_python, SCRIPTS / "train_by_time.py", *map(str, words)],
        check=True,
        env=told,
    )
    wall = time.monotonic() - start
    facts = json.loads((run / "labels" / "training.json").read_text())
    labels = {
        case.name: read_labels(run / "labels" / f"{case.name}.nii.gz", table=dataset.labels)
        for case in dataset.fold(0)[1]
    }
    return {
        "steps": facts["iterations"],
        "seconds": facts["seconds"],
        "mirrored": scored(dataset, labels),
        "train_wall_s": wall,
        "batch": facts["batch"],
        "versions": {name: facts[name] for name in ("nnunet", "torch")},
    }


def scored(dataset: Dataset, labels: dict[str, LabelMap]) -> dict[str, float]:
    """Mean Dice over the held-out cases, by label and over labels."""
    rows = {
        case.name: overlap(labels[case.name], dataset.read(case)[1]) for case in dataset.fold(0)[1]
    }
    summary = summarise(rows)
    means = {name: summary["mean"][name]["dice"] for name in label_names(summary)}
    return means | {MEAN: summary[MEAN]["dice"]}


def machine(device: str) -> str:
    """What it was measured on."""
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()}, {capability}, {torch.get_num_threads()} thread(s)"


def keep(runs: Path) -> None:
    """Print and write every cell that was ever measured."""
    files = sorted(runs.glob("*min-*.json"))
    rows = sorted(
        (json.loads(file.read_text()) for file in files),
        key=lambda row: (row["task"], row["device"], row["minutes"], row["seed"], row["system"]),
    )
    text = "| task | device | min (clock) | seed | system | Dice mirrored | plain | steps | batch |"
    text += " training, s | wall, s |\n" + "|---" * 11 + "|\n"
    for row in rows:
        plain = f"{row['plain'][MEAN]:.4f}" if "plain" in row else ""
        each = "/".join(f"{dice:.4f}" for name, dice in row["mirrored"].items() if name != MEAN)
        text += (
            f"| {row['task']} | {row['device']} | {row['minutes']:g} ({row['clock']}) |"
            f" {row['seed']} |"
            f" {row['system']} | {row['mirrored'][MEAN]:.4f} ({each}) | {plain} | {row['steps']} |"
            f" {row['batch']} | {row['seconds']:.0f} | {row['train_wall_s']:.0f} |\n"
        )
    text += "\n" + "; ".join(sorted({row["machine"] for row in rows})) + "\n"
    print(text)
    write_text(RESULTS.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    write_text(RESULTS.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
