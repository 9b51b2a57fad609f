"""Processor time of drawing, cutting and augmenting a patch, and of each augmentation alone.

    python benchmarks/loader.py [--device cpu] [--batches 8] [--repeats 3]

Two plans: hippocampus (40 x 56 x 40, one channel, batches of 16) and slices of RGB (320 x 320,
batches of 8). On a CPU it is processor time, the least of the repeats, so that other work hardly
shows; on a GPU it is the time until the device is done.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import inf

import numpy as np
import torch
from msgspec import structs

from medseg.augmentation import build_augmentation, names
from medseg.planning import Component, Normalisation, Plan
from medseg.planning.presets import PRESETS
from medseg.runtime.device import Device, choose_device
from medseg.training.cache import Prepared
from medseg.training.loader import open_loader
from medseg.training.options import TrainingOptions

HIPPOCAMPUS = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(40, 56, 40),
    batch=16,
    network=Component(name="unet"),
)
RGB = structs.replace(
    HIPPOCAMPUS,
    channels=("red", "green", "blue"),
    normalisation=(Normalisation(),) * 3,
    patch=(320, 320, 1),
    plane="axial",
    batch=8,
)
PLANS = {"hippocampus": (HIPPOCAMPUS, (37, 53, 40)), "RGB slices": (RGB, (400, 500, 1))}
CASES = 10


def made_up_case(shape: tuple[int, ...], channels: int, seed: int) -> Prepared:
    """A box in noise."""
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(n // 4, n // 2 + 1) for n in shape)] = 1
    noise = np.random.default_rng(seed).normal(size=(channels, *shape))
    return Prepared(noise.astype(np.float32), labels, (np.argwhere(labels == 1),))


def drawing(plan: Plan, shape: tuple[int, ...], device: Device, batches: int) -> Callable[[], None]:
    """Work that draws some batches."""
    cases = [made_up_case(shape, len(plan.channels), seed) for seed in range(CASES)]
    augment, options = build_augmentation(plan), TrainingOptions()

    def draw() -> None:
        steps = range(batches)
        with open_loader(
            cases, plan, augment, options=options, device=device, steps=steps
        ) as drawn:
            for _ in drawn:
                continue
        if device.torch_device.type == "cuda":
            torch.cuda.synchronize()

    return draw


def milliseconds(work: Callable[[], None], repeats: int, clock: Callable[[], float]) -> float:
    """The least of some repeats, after one that warms up."""
    work()
    best = inf
    for _ in range(repeats):
        start = clock()
        work()
        best = min(best, clock() - start)
    return 1000 * best


def components(preset: str) -> tuple[Component, ...]:
    """The parts of a preset."""
    return tuple(Component(name=name, settings=own) for name, own in PRESETS[preset])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    device = choose_device(chosen.device)
    clock = time.process_time if device.torch_device.type == "cpu" else time.perf_counter
    print(f"{device.description}; milliseconds a patch")
    for title, (plan, shape) in PLANS.items():
        rows = {preset: components(preset) for preset in ("none", "light", "standard", "strong")}
        for name in names():
            rows[f"{name}, always"] = (Component(name=name, settings={"probability": 1.0}),)
        for row, augmentation in rows.items():
            changed = structs.replace(plan, augmentation=augmentation)
            work = drawing(changed, shape, device, chosen.batches)
            each = milliseconds(work, chosen.repeats, clock) / chosen.batches / plan.batch
            print(f"{title:12} {row:24} {each:8.3f}", flush=True)


if __name__ == "__main__":
    main()
