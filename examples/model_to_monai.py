"""Take a medseg model into MONAI: as a bundle that needs no medseg, and as network and inferer.

python examples/model_to_monai.py [MODEL SCAN]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

import medseg
from medseg.inference import MonaiInferer
from medseg.model_package import export_bundle, find_package
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from medseg.preprocessing import pipeline
from medseg.workflows.bundle_comparison import compare_bundle
from medseg.writing import write_scan


def main(model: str = "hippocampus-mr", path: str | None = None) -> Path:
    """Export a model and label a scan in two more ways; gives the bundle's folder."""
    folder = Path(tempfile.mkdtemp(prefix="medseg-example-"))
    if path is None:  # no brain, but a scan
        scan, _ = abdominal_ct(0, ct_grid(shape=(40, 48, 40), spacing_mm=(1.0, 1.0, 1.0)))
        path = str(write_scan(scan, folder / "scan.nii.gz"))
    package = find_package(model)

    export_bundle(package, folder / "bundle")
    comparison = compare_bundle(package, folder / "bundle", medseg.read_scan(path))
    print(f"The bundle gives {comparison.equal:.3%} of the voxels the same label.")

    predictor = medseg.Predictor.load(package, device="cpu")
    inferer = MonaiInferer(predictor.plan.patch, overlap=0.5, mode="gaussian", argmax=True)
    image = pipeline(predictor.plan)({"image": path})["image"]
    with torch.inference_mode():
        classes = inferer(image[None], predictor.network)
    print(f"In bounded memory: classes of {tuple(classes.shape[2:])} voxels.")
    return folder / "bundle"


if __name__ == "__main__":
    main(*sys.argv[1:])
