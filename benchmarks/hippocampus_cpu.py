"""Mean Dice of hippocampus fold 0 against wall-clock time of training, on this machine's CPU.

    python benchmarks/hippocampus_cpu.py [--minutes 20] [--run runs/hippocampus-fold0]

Trains from nothing for the minutes given, validates on the way (8 held-out cases) and at the end
(all 42, each on its own grid, with the packed model), prints the table and writes it to
benchmarks/results/hippocampus_cpu.json. Needs ../shared/data/hippocampus.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

from medseg.inference import Predictor
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.held_out import prepare_held_out
from medseg.training.history import read_history
from medseg.training.validation import mean_dice
from medseg.volume.label_table import MEAN

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "hippocampus"
LABELS = {1: "anterior", 2: "posterior"}


def main() -> None:
    """Train, measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--run", type=Path, default=Path("runs/hippocampus-fold0"))
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data, labels=LABELS, modality="MR")
    options = TrainingOptions(minutes=arguments.minutes, fold=0, device="cpu", name="hippocampus")
    started = time.monotonic()
    folder = train(dataset, arguments.run, options=options, progress=Printer())
    wall = time.monotonic() - started
    history = read_history(arguments.run)
    training = max(record["seconds"] for record in history)
    predictor = Predictor.load(folder, device="cpu")
    held_out = prepare_held_out(
        dataset, dataset.fold(0)[1], predictor.plan, arguments.run / "cache"
    )
    final = mean_dice(predictor, held_out)
    rows = [(r["seconds"], r["step"], r["dice"]) for r in history if "dice" in r]
    print(f"\n{predictor.device.description}; {platform.processor() or platform.machine()}")
    print("seconds   step  anterior posterior      mean")
    for seconds, step, dice in rows:
        print(f"{seconds:7.0f} {step:6d}  {line(dice)}   (8 cases, on the way)")
    print(f"{training:7.0f} {rows[-1][1]:6d}  {line(final)}   (all 42, packed model)")
    result = {
        "dice": final,
        "training_seconds": round(training, 1),
        "wall_seconds": round(wall, 1),
        "steps": rows[-1][1],
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "validate_quick": [{"seconds": s, "step": n, "dice": d} for s, n, d in rows],
    }
    target = HERE / "results" / "hippocampus_cpu.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {target}")


def line(dice: dict[str, float]) -> str:
    """Three scores in columns."""
    return "  ".join(f"{dice[name]:8.4f}" for name in ("anterior", "posterior", MEAN))


class Printer:
    """One line every 30 seconds."""

    def __init__(self) -> None:
        self.next = 0.0

    def __call__(self, done: int, total: int, message: str, /) -> None:
        """Print when it is time."""
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 30
            print(f"{time.strftime('%H:%M:%S')} {message} {done}/{total}", flush=True)


if __name__ == "__main__":
    main()
