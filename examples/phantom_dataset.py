"""A folder of phantom CTs with their label maps, for the other examples: no download is needed."""

from __future__ import annotations

from pathlib import Path

from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.writing import write_labels, write_scan


def write_dataset(folder: Path, *, cases: int = 6) -> Path:
    """Write images/ and labels/ of so many patients, 64 x 64 x 24 voxels of 6 x 6 x 10 mm each."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for seed in range(cases):
        grid = ct_grid(shape=(64, 64, 24), spacing_mm=(6.0, 6.0, 10.0))
        scan, labels = abdominal_ct(seed, grid)
        write_scan(scan, folder / "images" / f"patient_{seed}.nii.gz")
        write_labels(labels, folder / "labels" / f"patient_{seed}.nii.gz")
    return folder
