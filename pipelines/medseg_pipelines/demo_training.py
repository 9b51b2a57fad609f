"""How the demo trains: its dataset, its plan, and until when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from medseg.networks import suggestion
from medseg.phantoms.abdomen import ABDOMEN_LABELS
from medseg.phantoms.dicom_archive import ArchivedSeries
from medseg.planning import Component, Plan, make_plan, take_fingerprint
from medseg.planning.planner import CPU_BUDGET
from medseg.reading import read_scan
from medseg.training import Dataset, TrainingOptions
from medseg.training.options import NETWORK
from medseg.training.own_parts import Callback, TrainingEvent
from medseg.training.recipe import Recipe
from medseg.volume.label_table import MEAN
from medseg.writing import write_labels, write_scan, write_text
from medseg_pipelines.console import Console

ENOUGH_DICE = 0.93
"""Of the validation patient, for the training to end: above what is expected of others."""
STEP_LIMIT = 300
STEPS_BETWEEN_VALIDATIONS = 20
FEATURES = (16, 32, 64, 128)


def make_dataset(folder: Path, series: Sequence[ArchivedSeries], console: Console) -> None:
    """Turn DICOM series and their truth into images/ and labels/; the last is for validation."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with console.progress("reading DICOM") as progress:
        for number, archived in enumerate(series):
            progress(number, len(series), "reading DICOM")
            scan = read_scan(archived.folder, series=archived.series_uid)
            write_scan(scan, folder / "images" / f"{archived.patient}.nii.gz")
            write_labels(archived.truth, folder / "labels" / f"{archived.patient}.nii.gz")
    names = [archived.patient for archived in series]
    description = {
        "name": "phantom-abdomen",
        "channel_names": {"0": "CT"},
        "labels": {label.name: label.value for label in ABDOMEN_LABELS},
        "file_ending": ".nii.gz",
    }
    write_text(folder / "dataset.json", json.dumps(description, indent=1) + "\n")
    folds = [{"train": names[:-1], "val": names[-1:]}]
    write_text(folder / "splits.json", json.dumps({"folds": folds}, indent=1) + "\n")


def demo_options(*, steps: int | None, seed: int, device: str) -> TrainingOptions:
    """Options of a training of at most so many steps; `STEP_LIMIT` when None."""
    steps = steps or STEP_LIMIT
    return TrainingOptions(
        steps=steps,
        fold=0,
        device=device,
        seed=seed,
        validations=max(1, steps // STEPS_BETWEEN_VALIDATIONS),
        recipe=Recipe(optimizer="adamw", learning_rate=1e-2),
        augmentation="none",
        class_weights="auto",
    )


def make_demo_plan(data: Dataset, options: TrainingOptions) -> Plan:
    """A plan for minutes on two slow cores: the whole abdomen at once, coarse, and a thin U-Net."""
    training, _ = data.fold(options.fold)
    plan = make_plan(
        take_fingerprint(data.read(case) for case in training),
        budget=CPU_BUDGET,
        network=suggestion(options.network or NETWORK),
        labels=data.labels,
    )
    stages = len(FEATURES)
    network = {
        "features": FEATURES,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        "kernels": [[3, 3, 3]] * stages,
        "convolutions": 1,
        "deep_supervision": False,
    }
    return msgspec.structs.replace(
        plan,
        spacing_mm=(7.0, 7.0, 7.0),
        patch=(48, 32, 40),
        batch=1,
        mirror_axes=(),
        overlap=0.25,
        network=Component(name=options.network or NETWORK, settings=network),
    )


def until_enough(console: Console) -> Callback:
    """End the training at `ENOUGH_DICE` of the validation patient; tell each of its scores."""

    def stop(event: TrainingEvent) -> bool:
        if event.dice is None:
            return False
        dice = event.dice.get(MEAN, 0.0)
        if dice >= ENOUGH_DICE:
            verdict = "which is enough"
        elif event.step < event.total_steps:
            verdict = f"waiting for {ENOUGH_DICE:.2f}, or step {event.total_steps}"
        else:
            verdict = f"below {ENOUGH_DICE:.2f} after the last step"
        console.print(f"  step {event.step}: Dice of the validation patient {dice:.3f}, {verdict}")
        return dice >= ENOUGH_DICE

    return stop
