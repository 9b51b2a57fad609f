"""Train the shipped model `hippocampus-mr` on all 208 cases and put it into the package.

    python benchmarks/ship_hippocampus.py [--run runs/hippocampus-mr] [--steps 1800]

A run that was stopped is taken up again. The scores in the model card are those that
benchmarks/hippocampus_cpu.py measured on fold 0 with the same recipe, since a model trained on
every case has no held-out ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import msgspec
from hippocampus_cpu import DATA, HERE, LABELS, Printer

from medseg.model_package import Card, ModelPackage, save_package
from medseg.model_package.store import SHIPPED
from medseg.training import TrainingOptions, open_dataset, train
from medseg.volume import Code, LabelTable

NAME = "hippocampus-mr"
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
CARD = Card(
    summary="Anterior (head) and posterior (body and tail) hippocampus in MR crops around it.",
    data=(
        "208 T1-weighted MR crops (about 35 x 50 x 35 voxels of 1 mm) with hand-drawn labels, from"
        " the training part of task 04 of the Medical Segmentation Decathlon, recorded at"
        " Vanderbilt University Medical Center from adults with and without a psychotic disorder."
    ),
    intended_use=(
        "Research on hippocampal volume, and a first example of medseg. The scan must be cropped"
        " around one hippocampus, as the training scans are."
    ),
    limits=(
        "Not a medical device. Whole-head scans, other spacings than about 1 mm, other contrasts,"
        " children, lesions and surgery were never seen. The training scans carry no reliable"
        " orientation, so the model was trained mirrored along every axis. Scores are of one fold"
        " of one data set; expect less elsewhere."
    ),
    licence="CC BY-SA 4.0",
    attribution=(
        "Trained on data of the Medical Segmentation Decathlon (medicaldecathlon.com), CC BY-SA"
        " 4.0: A. L. Simpson et al., A large annotated medical image dataset for the development"
        " and evaluation of segmentation algorithms, arXiv:1902.09063; M. Antonelli et al., The"
        " Medical Segmentation Decathlon, Nature Communications 13, 4128 (2022)."
    ),
    modality="MR",
)


def main() -> None:
    """Train (or take up, or use what is trained) and pack with its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/hippocampus-mr"))
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data, labels=LABELS, modality="MR")
    options = TrainingOptions(steps=arguments.steps, fold=None, name=NAME, validations=0)
    folder = arguments.run / "model"
    if not folder.is_dir():
        resume = (arguments.run / "options.json").is_file()
        train(dataset, arguments.run, options=options, resume=resume, progress=Printer())
    trained = ModelPackage.open(folder)
    labels = LabelTable(
        tuple(msgspec.structs.replace(label, code=HIPPOCAMPUS) for label in trained.manifest.labels)
    )
    fold = json.loads((HERE / "results" / "hippocampus_cpu.json").read_text())
    manifest = msgspec.structs.replace(
        trained.manifest,
        labels=labels,
        card=CARD,
        scores={name: round(dice, 4) for name, dice in fold["dice"].items()},
        provenance={
            **trained.manifest.provenance,
            "scores": f"fold 0, 42 held-out cases, same recipe, {fold['steps']} steps",
        },
    )
    target = SHIPPED / NAME
    shutil.rmtree(target, ignore_errors=True)
    save_package(target, manifest, trained.load_network())
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
