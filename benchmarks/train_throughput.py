"""Training patches a second, and how much of the time the device waits: nnU-Net, MONAI, medseg.

    python benchmarks/train_throughput.py --nnunet-python VENV/bin/python [--device cpu]
        [--seconds 60] [--rounds 3]

nnU-Net's trainer with its own loader, a plain MONAI loop (CacheDataset, random transforms,
DataLoader, DynUNet) and `medseg.train`, on fold 0 of hippocampus with nnU-Net's patch and batch,
each in a process of its own, in turn, in several rounds; medians and ratios. On a GPU the share of
waiting is what `nvidia-smi` leaves of 100 %; on a CPU, the time outside the steps, during which the
processor draws patches. What was measured is kept in RUNS, so the script can be killed at any
moment. Results: benchmarks/results/train_throughput_DEVICE.json and .md. Without `--nnunet-python`
nnU-Net is left out, and medseg's own patch and batch count. Needs ../shared/data/hippocampus.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from msgspec import structs
from rivals.monai_loop import measure as measure_monai
from rivals.nnunet.step_times import WARM_UP, StepTimes
from rivals.nnunet_folders import NAME, SCRIPTS, environment, prepare
from tasks.datasets import TASKS
from time_to_dice import machine

from medseg.errors import Cancelled
from medseg.networks import suggestion
from medseg.planning import Plan, make_plan, take_fingerprint
from medseg.planning.planner import CPU_BUDGET, GPU_BUDGET
from medseg.training import Dataset, TrainingOptions, train
from medseg.training.trainer import STEPS_BEFORE_COMPILING, Trainer
from medseg.writing import write_text

HERE = Path(__file__).resolve().parent
FIGURES = ("patches_s", "waits", "step_s")
SYSTEMS = ("nnunet", "monai", "medseg")


def main() -> None:
    """Measure what is new, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nnunet-python", type=Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/train_throughput"))
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.runs = arguments.runs.resolve()
    if arguments.one:
        measure(arguments)
        return
    systems = SYSTEMS if arguments.nnunet_python else SYSTEMS[1:]
    for number in range(arguments.rounds):
        for system in systems:
            target = arguments.runs / f"{arguments.device}-{number}-{system}.json"
            if not target.is_file():
                print(f"== {target.stem}", flush=True)
                subprocess.run(
                    [sys.executable, __file__, *sys.argv[1:], "--one", target], check=True
                )
    keep(arguments.runs, arguments.device)


def measure(arguments: argparse.Namespace) -> None:
    """One system once; the row becomes a file."""
    target: Path = arguments.one
    dataset = TASKS["hippocampus"].make(arguments.runs)
    system = target.stem.rpartition("-")[2]
    if system == "nnunet":
        row = nnunet(dataset, arguments)
    else:
        plan = plan_of(dataset, arguments)
        row = (
            medseg(dataset, plan, arguments)
            if system == "medseg"
            else monai(dataset, plan, arguments)
        )
    row |= {"system": system, "machine": machine(arguments.device)}
    write_text(target, json.dumps(row) + "\n")


def nnunet(dataset: Dataset, arguments: argparse.Namespace) -> dict[str, Any]:
    """nnU-Net's trainer in its own interpreter."""
    folder = arguments.runs / "nnunet-hippocampus"
    prepare(dataset, folder, arguments.nnunet_python)
    output = folder / "row.json"
    words = (NAME, "3d_fullres", "0", arguments.device, arguments.seconds, output)
    subprocess.run(
        [arguments.nnunet_python, SCRIPTS / "throughput.py", *map(str, words)],
        check=True,
        env=environment(folder),
    )
    return dict(json.loads(output.read_text()))


def plan_of(dataset: Dataset, arguments: argparse.Namespace) -> Plan:
    """medseg's plan, with nnU-Net's patch and batch where these were measured."""
    fingerprint = take_fingerprint(dataset.read(case) for case in dataset.fold(0)[0])
    budget = CPU_BUDGET if arguments.device == "cpu" else GPU_BUDGET
    network = suggestion("unet")
    plan = make_plan(fingerprint, budget=budget, network=network, labels=dataset.labels)
    rows = [json.loads(file.read_text()) for file in arguments.runs.glob("*-nnunet.json")]
    for row in rows[:1]:
        plan = structs.replace(plan, patch=tuple(row["patch"][::-1]), batch=row["batch"])
    return plan


def monai(dataset: Dataset, plan: Plan, arguments: argparse.Namespace) -> dict[str, Any]:
    """The plain loop."""
    return measure_monai(
        dataset,
        patch=list(plan.patch),
        batch=plan.batch,
        device=arguments.device,
        seconds=arguments.seconds,
    )


def medseg(dataset: Dataset, plan: Plan, arguments: argparse.Namespace) -> dict[str, Any]:
    """`medseg.train` as it is, its steps clocked from outside."""
    on_gpu = arguments.device == "cuda"
    first = STEPS_BEFORE_COMPILING if on_gpu else 0
    times = StepTimes(arguments.seconds, on_gpu, first + WARM_UP)
    plain = Trainer._learn  # noqa: SLF001 - what is timed is the step, wherever batches come from

    def clocked(*given: Any) -> None:
        times.step(lambda: plain(*given))

    run = arguments.runs / "medseg"
    shutil.rmtree(run, ignore_errors=True)
    options = TrainingOptions(steps=1_000_000, device=arguments.device, validations=0)
    with mock.patch.object(Trainer, "_learn", clocked), contextlib.suppress(Cancelled):
        train(dataset, run, options=options, plan=plan, progress=stopper(times))
    shutil.rmtree(run, ignore_errors=True)
    return dict(times.row(plan.batch, plan.patch))


def stopper(times: StepTimes) -> Any:
    """A progress function that ends the training when enough was measured."""

    def progress(done: int, total: int, message: str, /) -> None:
        if times.is_over:
            raise Cancelled("measured")

    return progress


def keep(runs: Path, device: str) -> None:
    """Medians of each system, and ratios to nnU-Net's."""
    rows = [json.loads(file.read_text()) for file in sorted(runs.glob(f"{device}-*.json"))]
    by_system = {name: [row for row in rows if row["system"] == name] for name in SYSTEMS}
    medians = {
        name: {key: statistics.median(row[key] for row in some) for key in FIGURES}
        for name, some in by_system.items()
        if some
    }
    text = (
        "| system | batch | patches/s | times nnU-Net | times MONAI | waits | s a step | rounds |\n"
    )
    text += "|---" * 8 + "|\n"
    for name, row in medians.items():
        ratios = [
            f"{row['patches_s'] / medians[other]['patches_s']:.2f}" if other in medians else ""
            for other in ("nnunet", "monai")
        ]
        some = by_system[name]
        text += f"| {name} | {some[0]['batch']} | {row['patches_s']:.2f} | {' | '.join(ratios)} |"
        text += f" {100 * row['waits']:.0f} % | {row['step_s']:.3f} | {len(some)} |\n"
    text += "\n" + "; ".join(sorted({row["machine"] for row in rows})) + "\n"
    print(text)
    target = HERE / "results" / f"train_throughput_{device}"
    write_text(target.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    write_text(target.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
