"""One row of benchmarks/networks.py: train, pack, segment the held-out cases, count the cost."""

from __future__ import annotations

import contextlib
import resource
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import structs

from medseg.errors import Cancelled
from medseg.inference import Predictor
from medseg.inference.job import sliding_window_of
from medseg.inference.oom_fallback import fallbacks
from medseg.inference.options import DEFAULT_OPTIONS
from medseg.metrics import overlap, surface_distances
from medseg.networks.blocks.cost import cost_of
from medseg.planning import Component, Plan
from medseg.postprocessing import build_postprocessing
from medseg.training import Dataset, TrainingOptions, train
from medseg.training.held_out import HeldOutCase, prepare_held_out
from medseg.training.history import read_history
from medseg.training.postprocessing_fit import Example, fit
from medseg.training.postprocessing_search import held_out_example
from medseg.training.run_status import OPTIONS
from medseg.training.validation import mean_dice
from medseg.volume.label_table import MEAN

COUNTED_STEPS = 24
"""Training steps whose median says how many fit."""

FITTED_VOXELS = 500_000
"""Held-out voxels after which no further case is used to fit steps after the network."""


def train_and_evaluate(
    dataset: Dataset, run: Path, *, network: str, minutes: float
) -> dict[str, Any]:
    """Train for `minutes` of processor time (or go on) and measure on the held-out cases.

    Parameters
    ----------
    dataset : Dataset
        Its fold 0 is held out.
    run : Path
        Folder of the run.
    network : str
        Name in ``medseg.networks``.
    minutes : float
        Of processor time for training: the steps that fit are counted in a short run before.

    Returns
    -------
    dict
        One row of the table.
    """
    options = TrainingOptions(network=network, device="cpu", validations=4)
    resume = (run / OPTIONS).is_file()
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
        seconds = processor_seconds(dataset, run.with_name(f"{run.name}-counting"), options)
        options = structs.replace(options, steps=int(minutes * 60 / seconds))
    clock = StepClock(Printer())
    train(dataset, run, options=options, resume=resume, progress=clock)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    history = read_history(run)
    predictor = Predictor.load(run / "model", device="cpu")
    steps, seconds = history[-1]["step"], clock.seconds
    return {
        "minutes": minutes,
        "processor_minutes": steps * seconds / 60,
        **scores(predictor, dataset),
        **with_tta(run, dataset),
        **cost(predictor),
        **with_postprocessing(predictor, dataset, run),
        "steps": steps,
        "steps_s": 1 / seconds,
        "peak_gib": peak_gib,
        "threads": torch.get_num_threads(),
        "device": predictor.device.description,
    }


class StepClock:
    """Processor seconds of a step, the median over a run; passes progress on.

    Parameters
    ----------
    after : callable
        Told the same.
    """

    def __init__(self, after: Printer) -> None:
        self.after = after
        self.last: tuple[int, float] | None = None
        self.steps: list[float] = []

    @property
    def seconds(self) -> float:
        """Median of what was seen."""
        return statistics.median(self.steps)

    def __call__(self, done: int, total: int, message: str, /) -> None:
        """Note the time between two steps that follow each other without a validation."""
        now = time.process_time()
        training = message.startswith("training")
        if training and self.last and done == self.last[0] + 1:
            self.steps.append(now - self.last[1])
        self.last = (done, now) if training else None
        self.after(done, total, message)


def processor_seconds(
    dataset: Dataset, run: Path, options: TrainingOptions, *, plan: Plan | None = None
) -> float:
    """Processor seconds of a training step, from a short run that is thrown away."""
    shutil.rmtree(run, ignore_errors=True)
    clock = StepClock(Printer())

    def counted(done: int, total: int, message: str, /) -> None:
        clock(done, total, message)
        if len(clock.steps) >= COUNTED_STEPS:
            raise Cancelled("counted")

    short = structs.replace(options, steps=10 * COUNTED_STEPS, validations=0)
    with contextlib.suppress(Cancelled):
        train(dataset, run, options=short, plan=plan, progress=counted)
    shutil.rmtree(run)
    return clock.seconds


def scores(predictor: Predictor, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Mean Dice, IoU and HD95 by label and over labels."""
    held_out = dataset.fold(0)[1]
    rows: dict[str, dict[str, list[float]]] = {"dice": {}, "iou": {}, "hd95_mm": {}}
    for case in held_out:
        scan, truth = dataset.read(case)
        predicted = predictor.predict(scan)
        surfaces = surface_distances(predicted, truth)
        for name, score in overlap(predicted, truth).items():
            values = {"dice": score.dice, "iou": score.iou, "hd95_mm": surfaces[name].hd95_mm}
            for key, value in values.items():
                if value is not None:
                    rows[key].setdefault(name, []).append(value)
    means = {
        key: {name: statistics.mean(values) for name, values in labels.items()}
        for key, labels in rows.items()
    }
    for labels in means.values():
        labels[MEAN] = statistics.mean(labels.values())
    return means


def with_tta(run: Path, dataset: Dataset) -> dict[str, float]:
    """Mean Dice when the network takes the mean over mirror images."""
    predictor = Predictor.load(run / "model", device="cpu", tta=True)
    return {"mirrored": mean_dice(predictor, held_out_of(run, dataset, predictor))[MEAN]}


def held_out_of(run: Path, dataset: Dataset, predictor: Predictor) -> tuple[HeldOutCase, ...]:
    """The cases of fold 0, prepared as the run keeps them."""
    return prepare_held_out(dataset, dataset.fold(0)[1], predictor.plan, run / "cache")


def with_postprocessing(predictor: Predictor, dataset: Dataset, run: Path) -> dict[str, Any]:
    """Dice on every other held-out case: without steps, with a CRF, with what was fitted."""
    held_out = held_out_of(run, dataset, predictor)
    examples: list[Example] = []
    for case in held_out[::2]:
        examples.append(held_out_example(predictor, case))
        if sum(example.truth_IJK.size for example in examples) >= FITTED_VOXELS:
            break
    steps_fitted = fit(examples, progress=Printer()).postprocessing

    def dice(*steps: Component) -> float:
        model = replace(predictor, postprocessing=build_postprocessing(steps))
        return mean_dice(model, held_out[1::2])[MEAN]

    return {
        "half_plain": dice(),
        "half_crf": dice(Component(name="crf")),
        "half_fitted": dice(*steps_fitted) if steps_fitted else None,
        "fitted": [msgspec.to_builtins(step) for step in steps_fitted],
    }


def cost(predictor: Predictor) -> dict[str, float]:
    """Parameters, floating-point operations of a patch, and its median time."""
    plan = predictor.plan
    counted = cost_of(predictor.network, channels=len(plan.channels), size=plan.patch)
    image = torch.zeros(len(plan.channels), *plan.patch)
    usual = next(fallbacks(predictor.device, plan.patch))
    window = sliding_window_of(predictor, usual, DEFAULT_OPTIONS)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        window.logits(image, (0, 0, 0))
        times.append(time.perf_counter() - start)
    return {
        "parameters_m": counted.parameters / 1e6,
        "gflops": counted.gflops,
        "ms_patch": statistics.median(times[2:]) * 1e3,
    }


class Printer:
    """One line every minute."""

    def __init__(self) -> None:
        self.next = 0.0

    def __call__(self, done: int, total: int, message: str, /) -> None:
        """Print when it is time."""
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 60
            print(f"{time.strftime('%H:%M:%S')} {message} {done}/{total}", flush=True)
