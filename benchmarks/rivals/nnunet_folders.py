"""A dataset as nnU-Net wants it, planned and preprocessed, in a folder that is filled once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from medseg.training import Dataset
from medseg.writing import write_labels, write_scan

NAME = "Dataset501_Task"
SCRIPTS = Path(__file__).resolve().parent / "nnunet"


def environment(folder: Path) -> dict[str, str]:
    """What nnU-Net's processes are told: where data lies."""
    parts = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    places = {name: str((folder / name).resolve()) for name in parts}
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return kept | places


def prepare(dataset: Dataset, folder: Path, python: Path) -> Path:
    """Fill the folders of a dataset of grey scans; returns that of the raw data.

    Parameters
    ----------
    dataset : Dataset
        Its folds become ``splits_final.json``; fold 0 also lies in ``held_out``.
    folder : Path
    python : Path
        Interpreter with nnU-Net.
    """
    raw, done = folder / "nnUNet_raw" / NAME, folder / "prepared"
    if done.is_file():
        return raw
    shutil.rmtree(folder, ignore_errors=True)
    held_out = {case.name for case in dataset.fold(0)[1]}
    for part in ("imagesTr", "labelsTr", "held_out"):
        (raw / part).mkdir(parents=True)
    for case in dataset.cases:
        scan, truth = dataset.read(case)
        write_labels(truth, raw / "labelsTr" / f"{case.name}.nii.gz")
        image = write_scan(scan, raw / "imagesTr" / f"{case.name}_0000.nii.gz")
        if case.name in held_out:
            (raw / "held_out" / image.name).symlink_to(image.resolve())
    about = {
        "channel_names": {"0": dataset.modality or "image"},
        "labels": {"background": 0, **{row.name: row.value for row in dataset.labels}},
        "numTraining": len(dataset.cases),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(about) + "\n")
    plan = "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import *;"
    plan += " plan_and_preprocess_entry()"
    words = ("-d", "501", "-c", "3d_fullres", "-np", "1", "-npfp", "1")
    subprocess.run([python, "-c", plan, *words], check=True, env=environment(folder))
    folds = [
        {"train": sorted(fold.train), "val": sorted(fold.validation)} for fold in dataset.folds
    ]
    splits = folder / "nnUNet_preprocessed" / NAME / "splits_final.json"
    splits.write_text(json.dumps(folds) + "\n")
    done.touch()
    return raw
