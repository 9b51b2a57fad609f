"""The tasks of the benchmarks as datasets: shared data as it lies there, or a folder made of it.

Where a folder is made, its function says why; it is written once and used again. What
`medseg train ../shared/data/NAME` takes as it is, is opened as it is.
"""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tasks.tumour_free import make_tumour_free, save_whole

from medseg.phantoms import ABDOMEN_LABELS, abdominal_ct
from medseg.reading import read_labels, read_scan
from medseg.training import Dataset, open_dataset
from medseg.volume import Grid, LabelTable
from medseg.writing import write_labels, write_scan

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TEST_SECTIONS = range(16, 20)
TEST_CHILDREN = ("07", "08", "09")
PHANTOMS, TEST_PHANTOMS = 12, 4
HEAD = {1: "head"}


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


def cardiac(_: Path) -> Dataset:
    """Short-axis cine stacks of 1.25 x 1.25 x 8 mm; every slice holds the ventricle."""
    return open_dataset(
        SHARED / "cardiac_lv_mr", labels={1: "left ventricular cavity"}, modality="MR"
    )


def fetal_head(_: Path) -> Dataset:
    """Ultrasound pictures as they lie there: a pixel counts as 1 mm."""
    return open_dataset(SHARED / "fetal_head_us", labels=HEAD, modality="US")


def fetal_head_mm(folder: Path) -> Dataset:
    """The same as NIfTI with the pixel size that ``cases.csv`` gives, which no PNG holds.

    A picture in millimetres needs a format with spacing; reading with medseg, setting the grid and
    writing again is what a user would do.
    """
    source = SHARED / "fetal_head_us"
    for case, row in rows_of("fetal_head_us").items():
        target = folder / "labels" / f"{case}.nii.gz"
        if target.is_file():
            continue
        scan = read_scan(source / "images" / f"{case}.png")
        labels = read_labels(source / "labels" / f"{case}.png", table=LabelTable.of(HEAD))
        scale = np.diag([float(row["pixel_mm"])] * 2 + [1.0, 1.0])
        grid = Grid(scan.grid.shape, scan.grid.affine @ scale)
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        write_scan(replace(scan, grid=grid), folder / "images" / target.name)
        write_labels(replace(labels, grid=grid), target)
    shutil.copyfile(source / "splits.json", folder / "splits.json")
    return open_dataset(folder, labels=HEAD, modality="US")


def chest(_: Path) -> Dataset:
    """Chest films, both lungs as one label."""
    return open_dataset(SHARED / "chest_xray_lungs", labels={1: "lungs"}, modality="DX")


def brain_tumor(_: Path) -> Dataset:
    """T1 slices after contrast, as they lie there: each holds a tumour."""
    return open_dataset(SHARED / "brain_tumor_t1ce", labels={1: "tumor"}, modality="MR")


def brain_tumor_free(folder: Path) -> Dataset:
    """The same, and tumour-free slices made of them to train on; see :mod:`tasks.tumour_free`."""
    source = SHARED / "brain_tumor_t1ce"
    make_tumour_free(source, folder)
    shutil.copyfile(source / "cases.csv", folder / "cases.csv")
    return open_dataset(folder, labels={1: "tumor"}, modality="MR")


def skin(_: Path) -> Dataset:
    """Dermoscopy photographs, longer side 320 pixels."""
    return open_dataset(SHARED / "skin_lesion", labels={1: "lesion"})


def polyp(_: Path) -> Dataset:
    """Endoscopy frames, longer side 320 pixels."""
    return open_dataset(SHARED / "polyp_endoscopy", labels={1: "polyp"})


def nuclei(folder: Path) -> Dataset:
    """Fluorescence pictures; the numbers of the nuclei become the one label that is learnt."""
    source = SHARED / "nuclei_fluorescence"
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for path in sorted((source / "labels").glob("*.png")):
        _link(source / "images" / path.name, folder / "images" / path.name)
        nucleus = np.asarray(Image.open(path)) > 0
        save_whole(nucleus.astype(np.uint8), folder / "labels" / path.name)
    shutil.copyfile(source / "splits.json", folder / "splits.json")
    return open_dataset(folder, labels={1: "nucleus"})


def rows_of(name: str) -> dict[str, dict[str, str]]:
    """The lines of a shared folder's ``cases.csv`` by case."""
    with (SHARED / name / "cases.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


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
    "cardiac": Task("MR left ventricle, 3-D stacks", 12.0, cardiac),
    "fetal_head": Task("US fetal head, 2-D grey", 8.0, fetal_head),
    "fetal_head_mm": Task("US fetal head, 2-D grey, in mm", 8.0, fetal_head_mm),
    "chest": Task("X-ray lungs, 2-D grey", 8.0, chest),
    "brain_tumor": Task("MR brain tumour, 2-D slices", 8.0, brain_tumor),
    "brain_tumor_free": Task("MR brain tumour, tumour-free slices too", 8.0, brain_tumor_free),
    "skin": Task("skin lesion, 2-D RGB", 8.0, skin),
    "polyp": Task("colon polyp, 2-D RGB", 8.0, polyp),
    "nuclei": Task("cell nuclei, 2-D grey", 8.0, nuclei),
    "em_membrane": Task("EM cell interior, 2-D grey", 4.0, em_membrane),
    "retina": Task("retinal vessels, 2-D RGB", 5.0, retina),
    "phantom": Task("CT phantom, 3-D, 6 organs", 3.0, phantom),
}
