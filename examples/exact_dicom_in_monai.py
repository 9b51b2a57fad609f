"""Read DICOM exactly in a MONAI pipeline of your own, and write labels back to its slices.

python examples/exact_dicom_in_monai.py [FOLDER_OF_A_SERIES]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, LoadImaged, Orientationd, Spacingd

import medseg
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.reading.monai_reader import MedsegReader, scan_of
from medseg.volume import LabelMap, LabelTable


def bone(image: MetaTensor) -> MetaTensor:
    """What stands here for your network: all above 250 HU."""
    return image > 250


def main(series: str | None = None) -> Path:
    """Label the bones of a series; gives the path of a DICOM SEG."""
    folder = Path(tempfile.mkdtemp(prefix="medseg-example-"))
    if series is None:
        scan, _ = abdominal_ct(0, ct_grid(shape=(96, 96, 32), spacing_mm=(4.0, 4.0, 6.0)))
        write_series(scan, folder / "series", patient=1)
        series = str(folder / "series")
    steps = Compose(
        [
            # a refusal stays a refusal: a missing slice is an error and no other spacing
            LoadImaged("image", reader=MedsegReader(), ensure_channel_first=True, image_only=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(3.0, 3.0, 3.0)),
        ]
    )
    case = steps({"image": series})
    print(f"{tuple(case['image'].shape[1:])} voxels, {case['image'].meta['modality']}")
    case["pred"] = bone(case["image"]).float()
    home = Invertd("pred", steps, orig_keys="image", nearest_interp=True)(case)["pred"]

    scan = scan_of(home)  # with grid, modality and the DICOM instances it came from
    values = scan.voxels[0].astype(np.uint8)
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "bone"}), scan.provenance)
    path = folder / "bone.dcm"
    medseg.write_labels(labels, path)
    same = medseg.read_labels(path).grid.same_as(medseg.read_scan(series).grid)
    print(f"Wrote {path}; it lies on the slices of the series: {same}")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
