"""Every shipped model on real scans of the kind it was made for, and what its package says."""

import csv

import pytest

from medseg.inference import Predictor
from medseg.metrics import overlap
from medseg.model_package import shipped_packages
from medseg.reading import read_labels, read_scan
from medseg.volume import Grid, LabelMap, Scan

DATA = {
    "hippocampus-mr": ("hippocampus", ".nii.gz", 0.8),
    "cardiac-lv-mr": ("cardiac_lv_mr", ".nii.gz", 0.8),
    "fetal-head-us": ("fetal_head_us", ".png", 0.9),
    "chest-lungs-xray": ("chest_xray_lungs", ".png", 0.9),
    "brain-tumor-mr": ("brain_tumor_t1ce", ".png", 0.5),
    "skin-lesion-rgb": ("skin_lesion", ".jpg", 0.7),
}
"""Folder of the shared data, ending of its images, mean Dice on three of them at least."""
PACKAGES = {package.manifest.name: package for package in shipped_packages()}
MOST_BYTES = 8_000_000


@pytest.mark.parametrize("name", PACKAGES)
def test_a_shipped_package_is_small_and_says_what_it_is(name):
    manifest, folder = PACKAGES[name].manifest, PACKAGES[name].folder
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES
    card = manifest.card
    for text in (card.summary, card.data, card.intended_use, card.licence, card.attribution):
        assert text
    assert "Not a medical device" in card.limits
    assert manifest.scores
    assert all(label.code for label in manifest.labels)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_shipped_model_labels_real_scans(name, shared_data):
    part, ending, least = DATA[name]
    folder = shared_data / part
    if not folder.is_dir():
        pytest.skip(f"no {part} in the shared data")
    predictor = Predictor.load(PACKAGES[name], device="cpu")
    files = sorted((folder / "images").glob(f"*{ending}"))
    dice = []
    for image in files[:: len(files) // 3][:3]:
        scan = read_scan(image)
        stem = image.name.removesuffix(ending)
        label = next((folder / "labels").glob(f"{stem}.*"))
        truth = read_labels(label, table=predictor.labels)
        if name == "fetal-head-us":
            scan, truth = in_millimetres(scan, truth, folder, stem)
        scores = overlap(predictor.predict(scan), truth)
        dice += [score.dice for score in scores.values()]
    assert sum(dice) / len(dice) > least


def in_millimetres(scan, truth, folder, case):
    """The picture with the pixel size of the table, which no PNG holds."""
    rows = csv.DictReader((folder / "cases.csv").read_text().splitlines())
    mm = next(float(row["pixel_mm"]) for row in rows if row["id"] == case)
    affine = scan.grid.affine.copy()
    affine[:, :2] *= mm
    grid = Grid(scan.grid.shape, affine)
    return Scan(scan.voxels, grid), LabelMap(truth.values, grid, truth.table)
