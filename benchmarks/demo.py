"""Whether the demo keeps its promise: Dice, steps, processor seconds and minutes of whole runs.

    python benchmarks/demo.py [--seeds 0 1 2] [--modes avx2-float32 native] [--folder FOLDER]

Every run is `medseg demo` in a process of its own. In `avx2-float32` torch and oneDNN are kept to
AVX2, so that nothing runs in bfloat16: a common laptop. `native` is this machine as it is. The
processor seconds are of everything, imports, archive and report included; the minutes depend on
what else the machine does. The table goes to benchmarks/results/demo.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from medseg.training.history import read_history
from medseg.volume.label_table import MEAN

TARGET = Path(__file__).resolve().parent / "results" / "demo.md"
MODES = {
    "avx2-float32": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "native": {},
}
COLUMNS = (
    "mode",
    "seed",
    "exit code",
    "mean Dice, held-out",
    "lowest organ",
    "steps",
    "processor seconds",
    "minutes of training",
    "minutes in all",
)
START = "from medseg_pipelines.cli import main; main()"


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in arguments.seeds:
            for mode in arguments.modes:
                folder = (arguments.folder or Path(temporary)) / f"{mode}-{seed}"
                rows.append(measured(mode, seed, folder))
                keep(rows)


def keep(rows: Sequence[str]) -> None:
    """Print the last row, and write all so far."""
    print(rows[-1], flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} processors"
    about = f"{machine}, torch {torch.__version__}, threads of a run: {torch.get_num_threads()}."
    table = [row_of(COLUMNS), row_of(["---"] * len(COLUMNS)), *rows]
    text = f"# The demo\n\n`python benchmarks/demo.py`: {about}\n\n" + "\n".join(table) + "\n"
    TARGET.write_text(text, encoding="utf-8")


def measured(mode: str, seed: int, folder: Path) -> str:
    """One run as a row of the table."""
    command = [sys.executable, "-c", START, "demo", "--no-view", "--device", "cpu"]
    command += ["--seed", str(seed), "--output", str(folder)]
    start, before = time.monotonic(), processor_seconds()
    code = subprocess.run(command, env=os.environ | MODES[mode], check=False).returncode
    minutes, spent = (time.monotonic() - start) / 60, processor_seconds() - before
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    name, lowest = min(
        ((name, row["dice"]) for name, row in scores["mean"].items() if name != "foreground"),
        key=lambda pair: pair[1],
    )
    last = read_history(folder / "run")[-1]
    return row_of(
        [
            mode,
            seed,
            code,
            f"{scores[MEAN]['dice']:.3f}",
            f"{name} {lowest:.3f}",
            last["step"],
            f"{spent:.0f}",
            f"{last['seconds'] / 60:.1f}",
            f"{minutes:.1f}",
        ]
    )


def row_of(cells: Sequence[object]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def processor_seconds() -> float:
    """Of all processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
