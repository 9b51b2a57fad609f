"""Small scans for comparing with nnU-Net: real ones, turned ones, and ones with zeros around."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from scipy import ndimage

from medseg.reading import read_scan
from medseg.volume import Grid, Scan
from medseg.volume.conventions import Reorientation

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def write_cases(folder: Path) -> dict[str, list[Path]]:
    """Files of each case, one for each of two channels (pictures hold three in one).

    Cases: ``hippocampus`` (MR of 1 mm), ``brain`` (MR, zeros around and within it), ``ct`` (3 mm),
    ``prostate`` (0.5 x 0.5 x 3 mm), ``breast`` (0.66 x 0.66 x 2.1 mm), ``turned`` (CT, axes towards
    P, S and R, oblique), ``picture``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hippocampus = read_scan(min((DATA / "hippocampus" / "images").iterdir()))
    brain = _cut(read_scan(DATA / "brain_mr_itksnap" / "MRIcrop-orig.gipl.gz"), 8)
    ct = _cut(read_scan(DATA / "ct_mr_organs" / "example_ct_sm.nii.gz"), 20)
    scans = {
        "hippocampus": hippocampus,
        "brain": _without_skull(brain),
        "ct": ct,
        "prostate": read_scan(DATA / "mr_pyradiomics" / "prostate_phantom_subvolume.nrrd"),
        "breast": read_scan(DATA / "mr_pyradiomics" / "breast1_image.nrrd"),
        "turned": _turned(ct),
    }
    files = {name: _written(scan, folder, name) for name, scan in scans.items()}
    picture = folder / "picture_0000.png"
    first = min((DATA / "skin_lesion" / "images").iterdir())
    Image.open(first).convert("RGB").resize((150, 110)).save(picture)
    return files | {"picture": [picture]}


def _written(scan: Scan, folder: Path, name: str) -> list[Path]:
    """The scan, and a smoothed, inverted copy of it as the second channel."""
    voxels = scan.voxels[0].astype(np.float32)
    second = np.rint(ndimage.gaussian_filter(voxels.max() - voxels, 1.0)).astype(np.int16)
    second[voxels == 0] = 0
    paths = [folder / f"{name}_{number:04d}.nii.gz" for number in range(2)]
    for path, values in zip(paths, (scan.voxels[0], second), strict=True):
        image = nibabel.Nifti1Image(values.astype(np.int16), scan.grid.affine)
        nibabel.save(image, path)
    return paths


def _cut(scan: Scan, margin: int) -> Scan:
    """The scan without `margin` voxels on each side of its two longest axes."""
    shortest = int(np.argmin(scan.grid.shape))
    box = tuple(
        slice(0, n) if axis == shortest else slice(margin, n - margin)
        for axis, n in enumerate(scan.grid.shape)
    )
    return Scan(np.ascontiguousarray(scan.voxels[(slice(None), *box)]), scan.grid.cropped(box))


def _without_skull(scan: Scan) -> Scan:
    """A ball of the scan with zeros around it, with a hole inside and one to the outside."""
    i, j, k = np.indices(scan.grid.shape)
    shape = np.asarray(scan.grid.shape)[:, None, None, None]
    distance = np.sqrt(((np.stack((i, j, k)) / shape - 0.5) ** 2).sum(axis=0))
    keep = (distance < 0.45) & (distance > 0.05) & ~((abs(i - 30) < 4) & (j < 40))
    return Scan(scan.voxels * keep[None], scan.grid)


def _turned(scan: Scan) -> Scan:
    """With axes towards P, S and R, and 9 degrees oblique."""
    turn = Reorientation.towards(scan.grid, "PSR")
    angle = np.radians(9)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = Grid(turn.target.shape, rotation @ turn.target.affine)
    return Scan(np.ascontiguousarray(turn.apply(scan.voxels)), grid)
