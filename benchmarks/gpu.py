"""What is to be measured when a GPU is lent: throughput, time to Dice, fold 0 in five minutes.

    python benchmarks/gpu.py [--nnunet-python VENV/bin/python] [--within 12] [--output FOLDER]

Runs, one after another while minutes are left: training throughput (one round), medseg for five
minutes on fold 0 of hippocampus, and both systems for one and three minutes. Every cell that was
measured stays in RUNS, so what did not fit is measured by the next call. The tables and JSON files
of benchmarks/results are copied to FOLDER. On a machine without a GPU nothing is measured.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
PARTS = (
    ("train_throughput.py", True, ("--seconds", "20", "--rounds", "1")),
    ("time_to_dice.py", False, ("--minutes", "5")),
    ("time_to_dice.py", True, ("--minutes", "1", "3")),
)
"""Script, whether nnU-Net takes part, and arguments."""


def main() -> None:
    """Run the parts within the minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nnunet-python", type=Path)
    parser.add_argument("--within", type=float, default=12.0, help="minutes, of all parts")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here, so nothing is measured")
        return
    end = time.monotonic() + 60 * arguments.within
    for script, is_compared, words in PARTS:
        command = [sys.executable, HERE / script, "--device", "cuda", "--runs", arguments.runs]
        if is_compared and arguments.nnunet_python:
            command += ["--nnunet-python", arguments.nnunet_python]
        try:
            subprocess.run([*command, *words], timeout=max(end - time.monotonic(), 1), check=False)
        except subprocess.TimeoutExpired:
            print(f"{script} {' '.join(words)}: no time left")
    if arguments.output:
        for name in ("train_throughput_cuda", "time_to_dice"):
            for file in (HERE / "results").glob(f"{name}.*"):
                shutil.copy(file, arguments.output)


if __name__ == "__main__":
    main()
