"""A model against its MONAI bundle, and MONAI's sliding window against the one in bounded memory.

    python benchmarks/monai_bundle.py [--scans 10]

Real scans of the hippocampus by the shipped model: as they are (1 mm, the model's own spacing) and
put on other grids first; and an abdominal CT of 512 x 512 x 200 voxels that a formula draws, for
the cost of preparing alone. Everything on the CPU. Prints the tables and writes
results/monai_bundle.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from monai.inferers import Inferer, SlidingWindowInferer
from scipy import ndimage
from torch import nn

from medseg.inference import MonaiInferer
from medseg.inference.estimate import _LiveMemory
from medseg.model_package import ModelPackage, export_bundle, find_package, save_package
from medseg.networks import build_network
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.planning import Component, Normalisation
from medseg.reading import read_scan
from medseg.runtime.device import choose_device
from medseg.volume import Grid, Scan
from medseg.workflows.bundle_comparison import BundleComparison, compare_bundle

HERE = Path(__file__).resolve().parent
SCANS = HERE.parents[1] / "shared" / "data" / "hippocampus" / "images"
SPACINGS = ((1.0, 1.0, 1.0), (0.7, 0.7, 1.6), (0.6, 0.6, 0.6), (1.3, 0.9, 1.1))
TURN = np.radians(8)


def regridded(scan: Scan, spacing_mm: tuple[float, ...]) -> Scan:
    """A scan on a grid of another spacing, turned by 8 degrees, axes towards L, P and S."""
    grid = scan.grid
    sizes = np.multiply(grid.shape, grid.spacing_mm) / spacing_mm
    i, j, k = (round(size) for size in sizes)
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.multiply(spacing_mm, (-1, -1, 1)))
    centre = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array((i, j, k)) - 1) / 2)
    way = np.linalg.inv(grid.affine) @ affine
    voxels = ndimage.affine_transform(
        scan.voxels[0].astype(np.float32), way, output_shape=(i, j, k), order=3, mode="nearest"
    )
    return replace(scan, voxels=voxels[None], grid=Grid((i, j, k), affine))


def labels_rows(package: ModelPackage, bundle: Path, count: int) -> list[str]:
    """Agreement and time, for each spacing the mean of all scans."""
    rows = [
        "| scans on a grid of | equal voxels | mean, least Dice | preparing, s | labelling, s |",
        "|---|---|---|---|---|",
    ]
    scans = [read_scan(path) for path in sorted(SCANS.iterdir())[:count]]
    compare_bundle(package, bundle, scans[0])  # what only the first call waits for
    for spacing in SPACINGS:
        given = scans if spacing == SPACINGS[0] else [regridded(scan, spacing) for scan in scans]
        found = [compare_bundle(package, bundle, scan) for scan in given]
        dice = [one for comparison in found for one in comparison.dice.values() if one is not None]
        title = " x ".join(f"{mm:g}" for mm in spacing)
        rows.append(
            f"| {title} mm | {np.mean([one.equal for one in found]):.3%}"
            f" | {np.mean(dice):.4f}, {min(dice):.4f} | {_times(found, 'preparation')}"
            f" | {_times(found, 'labelling')} |"
        )
    return rows


def _times(found: list[BundleComparison], name: str) -> str:
    ways = [[getattr(way, name) for way in (one.medseg, one.bundle)] for one in found]
    ours, monai = np.median(ways, axis=0)
    return f"{ours:.2f}, {monai:.2f}"


def large_row(folder: Path) -> str:
    """A CT of common size with an untrained network of hardly any work: the time is resampling."""
    shipped = find_package("hippocampus-mr")
    plan = msgspec.structs.replace(
        shipped.manifest.plan,
        spacing_mm=(1.5, 1.5, 2.0),
        channels=("CT",),
        normalisation=(Normalisation(scheme="clip_zscore", low=-200, high=300, std=100),),
        patch=(128, 128, 64),
        overlap=0.0,
        network=Component(
            name="unet",
            settings={"features": [2, 2], "strides": [[1] * 3, [2] * 3], "kernels": [[3] * 3] * 2},
        ),
    )
    manifest = msgspec.structs.replace(shipped.manifest, plan=plan)
    package = save_package(folder / "large", manifest, build_network(plan, classes=3))
    export_bundle(package, folder / "large_bundle", check=False)
    scan, _ = abdominal_ct(1, ct_grid(shape=(512, 512, 200), spacing_mm=(0.75, 0.75, 2.5)))
    found = compare_bundle(package, folder / "large_bundle", scan)
    return (
        f"CT of 512 x 512 x 200 voxels to 1.5 x 1.5 x 2 mm: preparing takes"
        f" {found.medseg.preparation:.1f} s in medseg and {found.bundle.preparation:.1f} s in the"
        f" bundle; the network and three classes home {found.medseg.labelling:.1f} s and"
        f" {found.bundle.labelling:.1f} s."
    )


def inferer_rows() -> list[str]:
    """Memory and time for 60 classes."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 60, 1)).eval()
    network.requires_grad_(requires_grad=False)
    image = torch.randn(1, 1, 256, 96, 96)
    settings = {"overlap": 0.5, "mode": "gaussian"}
    inferers: dict[str, Inferer] = {
        "monai.inferers.SlidingWindowInferer": SlidingWindowInferer(48, **settings),
        "MonaiInferer": MonaiInferer(48, **settings),
        "MonaiInferer, argmax": MonaiInferer(48, argmax=True, **settings),
    }
    rows = ["| inferer | s | peak of tensors, MiB | largest difference |", "|---|---|---|---|"]
    wanted = None
    for name, inferer in inferers.items():
        start = time.perf_counter()
        found = inferer(image, network)
        seconds = time.perf_counter() - start
        wanted = found if wanted is None else wanted
        if found.shape == wanted.shape:
            difference = f"{float((found - wanted).abs().max()):.1e}"
        else:
            others = float((found != wanted.argmax(1, keepdim=True)).float().mean())
            difference = f"{others:.1e} of the classes"
        with _LiveMemory() as memory:
            inferer(image, network)
        rows.append(f"| {name} | {seconds:.1f} | {memory.peak_bytes / 2**20:.0f} | {difference} |")
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=10)
    count = parser.parse_args().scans
    package = find_package("hippocampus-mr")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        export_bundle(package, folder / "bundle")
        lines = [
            "# A model and its MONAI bundle",
            "",
            f"{choose_device('cpu').description} (the bundle: float32), torch {torch.__version__}.",
            "",
            "## Labels",
            "",
            f"{count} hippocampus scans by `hippocampus-mr`. Dice is between both label maps;",
            "times are medians for one scan, of medseg and of the bundle.",
            "",
            *labels_rows(package, folder / "bundle", count),
            "",
            large_row(folder),
        ]
    lines += [
        "",
        "## Inferer",
        "",
        "256 x 96 x 96 voxels, 60 classes, tiles of 48, overlap 0.5.",
        "",
    ]
    text = "\n".join([*lines, *inferer_rows()]) + "\n"
    print(text)
    (HERE / "results" / "monai_bundle.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
