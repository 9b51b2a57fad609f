"""What the geometry benchmark reads: real folders, mutated series, and the truth about each."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
sys.path.append(str(ROOT / "tests"))

from dicom_oracle import (  # noqa: E402
    Frame,
    Judgement,
    Volume,
    even_run,
    frames_below,
    frames_of_volume,
    judge,
    true_places,
)
from mutations import MUTATIONS, write_plain, write_tilted  # noqa: E402

__all__ = ["DATA", "Case", "Judgement", "Volume", "cases", "judge", "true_places"]

QA, D2N, SEG = "dicom_vendor_qa", "dicom2nifti_tests", "dicom_seg_rtstruct"
FROM_HEADERS = [
    (QA, "ct_ge_tilt_variable_gap/In"),
    (QA, "mr_enhanced_siemens_xa10/In"),
    (QA, "mr_agfa_private_tags/Agfa"),
    (QA, "mr_agfa_private_tags/Siemens"),
    (D2N, "failing/gantrytilting/001"),
    (D2N, "failing/sliceincrement/001"),
    (D2N, "failing/sliceorientation/001"),
    (D2N, "failing/slicecount/001"),
    (D2N, "generic/anatomical/002_non_isotropic"),
    (D2N, "generic/compressed_jpeg/001"),
    (D2N, "generic/compressed_rle/001"),
    (D2N, "generic/rgb/001"),
    (D2N, "hitachi/anatomical/001"),
    (D2N, "hyperfine/anatomical/001"),
    (D2N, "siemens_multiframe/anatomical/001"),
    ("ct_mr_organs", "example_ct_dicom"),
    (SEG, "dcmqi/ct-3slice"),
    (SEG, "dcmqi/23x38x3/image"),
    (SEG, "dcmqi/23x38x3/multiframe"),
    (SEG, "highdicom/source_ct/CT2"),
    (SEG, "rt-utils"),
    (SEG, "dicompyler"),
    (SEG, "enhanced_multiframe"),
    ("hippocampus_dicom_crops", "Study1/13_HCropVolume"),
    ("hippocampus_dicom_crops", "Study3/11_HCropVolume"),
]
FROM_REFERENCES = [  # mosaics have no position of a slice in their header
    (
        "mr_siemens_mosaic_orientation/In/ax/axasc36",
        "mr_siemens_mosaic_orientation/Ref/ax_*.nii.gz",
    ),
    (
        "mr_siemens_mosaic_orientation/In/cor/corasc36",
        "mr_siemens_mosaic_orientation/Ref/cor_*.nii.gz",
    ),
    (
        "mr_siemens_mosaic_orientation/In/sag/sagasc36",
        "mr_siemens_mosaic_orientation/Ref/sag_*.nii.gz",
    ),
    ("mr_siemens_mosaic_jpeg2000/In/AxInt36mb", "mr_siemens_mosaic_jpeg2000/Ref/*.nii.gz"),
    ("mr_12bit_stored/In", "mr_12bit_stored/Ref/*.nii.gz"),
    ("mr_siemens_epi_pe_ap/In/mr_0003", "mr_siemens_epi_pe_ap/Ref/*.nii.gz"),
]
REFERENCES = {  # of folders whose headers say all: nibabel's view of what others made of them
    "hitachi/anatomical/001": f"{D2N}/hitachi/anatomical/001_ground_truth.nii.gz",
    "hyperfine/anatomical/001": f"{D2N}/hyperfine/anatomical/001_ground_truth.nii.gz",
    "siemens_multiframe/anatomical/001": (
        f"{D2N}/siemens_multiframe/anatomical/001_ground_truth.nii.gz"
    ),
    "failing/slicecount/001": f"{D2N}/failing/slicecount/001_ground_truth.nii.gz",
    "generic/anatomical/002_non_isotropic": (
        f"{D2N}/generic/anatomical/002_non_isotropic_ground_truth.nii.gz"
    ),
    "generic/compressed_jpeg/001": f"{D2N}/generic/compressed_jpeg/001_ground_truth.nii.gz",
    "generic/compressed_rle/001": f"{D2N}/generic/compressed_rle/001_ground_truth.nii.gz",
    "generic/rgb/001": f"{D2N}/generic/rgb/001_ground_truth.nii.gz",
    "mr_enhanced_siemens_xa10/In": f"{QA}/mr_enhanced_siemens_xa10/Ref/*.nii.gz",
}


@dataclass(frozen=True)
class Case:
    """A folder to read, and every acceptable truth about it.

    Parameters
    ----------
    folder : Path
        What readers are given.
    truths : list of list of Frame
        A reader is right when it agrees with one of them.
    reference : list of Frame
        Of a published NIfTI file, where there is one beside the headers.
    """

    folder: Path
    truths: list[list[Frame]]
    reference: list[Frame] = field(default_factory=list)


Named = tuple[str, str, Callable[[], Case]]


def cases(scratch: Path, data: Path = DATA) -> Iterator[Named]:
    """Group, name and maker of every case; series that have to be made are made in `scratch`."""
    if data.is_dir():
        yield from _real(data, scratch)
    plain = (("unspoilt, oblique", write_plain), ("gantry tilt 18.5 degrees", write_tilted))
    for name, write in plain:
        yield "series", name, partial(_made, name, write, scratch)
    for mutation in MUTATIONS:
        yield "mutation", mutation.name, partial(_made, mutation.name, mutation.write, scratch)


def _made(name: str, write: Callable[[Path], None], scratch: Path) -> Case:
    folder = scratch / "".join(c if c.isalnum() else "_" for c in name)
    write(folder)
    return Case(folder, [frames_below(folder)])


def _real(data: Path, scratch: Path) -> Iterator[Named]:
    for group, name in FROM_HEADERS:
        yield group, name, partial(_by_headers, data, group, name)
    yield QA, "ct_ge_tilt (its evenly spaced part)", partial(_even_part, data, scratch)
    for name, pattern in FROM_REFERENCES:
        yield QA, name, partial(_by_reference, data / QA, name, pattern)
    yield QA, "mr_enhanced_philips_fieldmap/In", partial(_philips, data / QA)


def _by_headers(data: Path, group: str, name: str) -> Case:
    folder = data / group / name
    reference = references(data, REFERENCES[name]) if name in REFERENCES else []
    return Case(folder, [frames_below(folder)], reference)


def _by_reference(data: Path, name: str, pattern: str) -> Case:
    return Case(data / name, [references(data, pattern)])


def _philips(data: Path) -> Case:
    """Either scaling: of the standard's fields, or of the vendor's own as the reference has it."""
    folder = data / "mr_enhanced_philips_fieldmap"
    either = [frames_below(folder / "In"), references(folder, "Ref/*.nii.gz")]
    return Case(folder / "In", either)


def _even_part(data: Path, scratch: Path) -> Case:
    """The longest run of slices with one gap of the tilted CT whose gaps vary."""
    folder = scratch / "even_tilted"
    folder.mkdir(parents=True, exist_ok=True)
    for path in even_run(data / QA / "ct_ge_tilt_variable_gap" / "In"):
        shutil.copy(path, folder)
    return Case(folder, [frames_below(folder)])


def references(folder: Path, pattern: str) -> list[Frame]:
    """The slices of every volume of the NIfTI files that match."""
    frames = []
    for path in sorted(folder.glob(pattern)):
        image = nib.load(path)
        array = np.asarray(image.dataobj)
        if array.dtype.names:
            array = array[array.dtype.names[0]]
        array = array.reshape((*array.shape[:3], -1))
        for n in range(array.shape[3]):
            frames += frames_of_volume(Volume(array[..., n], image.affine))
    return frames
