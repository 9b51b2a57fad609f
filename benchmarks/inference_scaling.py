"""Time and memory of inference outside the network, by slices and by classes.

    python benchmarks/inference_scaling.py [--slices 100,200,1000] [--classes 2,25,105,117]

A network of 32 features and one convolution stands for any: what it takes is subtracted. A CT of
512 x 512 slices of 0.75 x 0.75 x 1.5 mm goes to 1.5 mm and comes home, in tiles of 128^3. Each row
runs in a process of its own, and is kept in results/inference_scaling.json, where a row that is
there is not measured again. Growth says how much memory another class and another slice take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

KEPT = HERE / "results" / "inference_scaling.json"
SPACING_MM = (0.75, 0.75, 1.5)
PATCH = 128
FEATURES = 32


def measure(slices: int, classes: int, size: int, patch: int) -> dict[str, float]:
    """One scan labelled in this process: seconds, those of the network, and memory."""
    import numpy as np
    import torch

    from medseg.inference import Predictor
    from medseg.inference.sliding_window import SlidingWindow
    from medseg.planning import Component, Normalisation, Plan
    from medseg.runtime.device import choose_device
    from medseg.volume import Grid, LabelTable, Scan

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, FEATURES, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv3d(FEATURES, classes, 1),
    )
    network.eval().requires_grad_(requires_grad=False)
    plan = Plan(
        spacing_mm=(1.5,) * 3,
        channels=("CT",),
        normalisation=(Normalisation(),),
        patch=(patch,) * 3,
        batch=1,
        network=Component(name="unet"),
    )
    labels = LabelTable.of({value: f"part {value}" for value in range(1, classes)})
    shape = (size, size, slices)
    waves = [(200 * np.sin(np.arange(n) / 9)).astype(np.int16) for n in shape[:2]]
    voxels = np.random.default_rng(0).integers(-200, 200, (1, *shape), np.int16)
    voxels += np.add.outer(*waves)[..., None]
    scan = Scan(voxels, Grid(shape, np.diag([*SPACING_MM, 1.0])), modality="CT")
    in_network = 0.0
    usual = SlidingWindow.logits

    def timed(window: Any, image: Any, start: Any) -> Any:
        nonlocal in_network
        begun = time.perf_counter()
        logits = usual(window, image, start)
        in_network += time.perf_counter() - begun
        return logits

    SlidingWindow.logits = timed  # type: ignore[method-assign]
    predictor = Predictor(network, plan, labels, choose_device("cpu"))
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    found = predictor.predict(scan)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(seconds, 2),
        "network_s": round(in_network, 2),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak_gb": round(after.ru_maxrss * 1024 / 1e9, 3),
        "before_gb": round(before.ru_maxrss * 1024 / 1e9, 3),
        "labels": len(np.unique(found.values)),
    }


def numbers(text: str) -> list[int]:
    """Whole numbers from N,N,N."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Measure the rows that are missing, print and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=numbers, default=[100, 200, 400, 700, 1000])
    parser.add_argument("--classes", type=numbers, default=[2, 25, 60, 105, 117])
    parser.add_argument("--size", type=int, default=512, help="pixels of a slice")
    parser.add_argument("--patch", type=int, default=PATCH)
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--child", action="store_true")
    arguments = parser.parse_args()
    if arguments.child:
        row = measure(arguments.slices[0], arguments.classes[0], arguments.size, arguments.patch)
        print(json.dumps(row))
        return
    rows = json.loads(arguments.kept.read_text()) if arguments.kept.is_file() else {}
    pairs = {(200, classes) for classes in arguments.classes}
    pairs |= {(slices, 25) for slices in arguments.slices}
    print(
        "| slices | classes | s | of it the network | CPU s | peak GB |\n|---|---|---|---|---|---|"
    )
    for slices, classes in sorted(pairs):
        key = f"{arguments.size} x {arguments.size} x {slices}, {classes} classes"
        if key not in rows:
            words = ("--slices", slices, "--classes", classes, "--size", arguments.size)
            command = [sys.executable, __file__, "--child", *words, "--patch", arguments.patch]
            done = subprocess.run(map(str, command), capture_output=True, text=True, check=True)
            rows[key] = json.loads(done.stdout.splitlines()[-1])
            arguments.kept.write_text(json.dumps(rows, indent=1) + "\n")
        row = rows[key]
        cells = (slices, classes, row["seconds"], row["network_s"], row["cpu_s"], row["peak_gb"])
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
