"""The four tasks of benchmarks/networks.py as datasets on disk: links to real data, or phantoms."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medseg.phantoms import ABDOMEN_LABELS, abdominal_ct
from medseg.reading import read_labels
from medseg.training import Dataset, open_dataset
from medseg.writing import write_labels, write_scan

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TEST_SECTIONS = range(16, 20)
TEST_CHILDREN = ("07", "08", "09")
PHANTOMS, TEST_PHANTOMS = 12, 4


class Task(NamedTuple):
    """One row group of the table.

    Parameters
    ----------
    title : str
        For people.
    minutes : float
        Of training, the same for every network.
    make : callable
        From a folder to the dataset in it (written once).
    """

    title: str
    minutes: float
    make: Callable[[Path], Dataset]


def hippocampus(_: Path) -> Dataset:
    """MSD Task04 crops, 3-D MR; fold 0 of splits.json."""
    return open_dataset(
        SHARED / "hippocampus", labels={1: "anterior", 2: "posterior"}, modality="MR"
    )


def em_membrane(folder: Path) -> Dataset:
    """ISBI 2012 sections, 2-D grey: 0-15 to train on, 16-19 held out."""
    source = SHARED / "em_membrane_gray"
    for number in range(20):
        _link(source / "image" / f"{number}.png", folder / "images" / f"s{number:02}.png")
        _link(source / "label" / f"{number}.png", folder / "labels" / f"s{number:02}.png")
    held_out = [f"s{number:02}" for number in TEST_SECTIONS]
    _split(folder, held_out)
    return open_dataset(folder, labels={255: "cell interior"})


def retina(folder: Path) -> Dataset:
    """CHASE_DB1 fundus photographs, 2-D RGB, first observer; the last three children held out."""
    source = SHARED / "retina_rgb" / "CHASE_DB1"
    held_out = []
    for path in sorted(source.glob("Image_???.jpg")):
        name = path.stem.removeprefix("Image_")
        _link(path, folder / "images" / f"{name}.jpg")
        _link(source / f"{path.stem}_1stHO.png", folder / "labels" / f"{name}.png")
        if name[:2] in TEST_CHILDREN:
            held_out.append(name)
    _split(folder, held_out)
    return open_dataset(folder, labels={255: "vessel"})


def retina_second_observer() -> float:
    """Mean Dice of the second observer against the first on the held-out photographs."""
    source = SHARED / "retina_rgb" / "CHASE_DB1"
    dice = []
    for path in sorted(source.glob("Image_???_2ndHO.png")):
        if path.name[6:8] in TEST_CHILDREN:
            first = read_labels(path.with_name(path.name.replace("2nd", "1st"))).values > 0
            second = read_labels(path).values > 0
            dice.append(2 * float((first & second).sum()) / float(first.sum() + second.sum()))
    return statistics.mean(dice)


def phantom(folder: Path) -> Dataset:
    """Abdominal CT by formula, six organs, 128 x 128 x 48 voxels of 3 x 3 x 5 mm."""
    names = [f"p{seed:02}" for seed in range(PHANTOMS)]
    for seed, name in enumerate(names):
        target = folder / "labels" / f"{name}.nii.gz"
        if target.is_file():
            continue
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        scan, truth = abdominal_ct(seed)
        write_scan(scan, folder / "images" / f"{name}.nii.gz")
        write_labels(truth, target)
    _split(folder, names[-TEST_PHANTOMS:])
    return open_dataset(folder, labels=ABDOMEN_LABELS, modality="CT")


def _link(source: Path, target: Path) -> None:
    """A link in the dataset's folder to a file of the real data."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        target.symlink_to(source)


def _split(folder: Path, held_out: list[str]) -> None:
    """One fold with these cases held out."""
    names = sorted(path.name.split(".")[0] for path in (folder / "labels").iterdir())
    train = [name for name in names if name not in held_out]
    folds = [{"train": train, "val": held_out}]
    (folder / "splits.json").write_text(json.dumps({"folds": folds}, indent=1) + "\n")


TASKS = {
    "hippocampus": Task("MR hippocampus, 3-D, 2 labels", 12.0, hippocampus),
    "em_membrane": Task("EM cell interior, 2-D grey", 4.0, em_membrane),
    "retina": Task("retinal vessels, 2-D RGB", 5.0, retina),
    "phantom": Task("CT phantom, 3-D, 6 organs", 3.0, phantom),
}
