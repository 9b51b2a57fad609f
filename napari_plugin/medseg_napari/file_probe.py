"""Cheap looks at a file or folder, to say whether it is ours and what kind of layer it makes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.discovery.channel_files import by_case
from medseg.volume import Scan

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")

_FILES_TO_OPEN = 20
_NIFTI_INTENT_LABEL = 1002
_NAMES_KEY = "medseg_labels"
_LARGEST_LABEL = 1023
_EVEN = 2 / 3


def is_volume_file(path: Path) -> bool:
    """Whether the name is one of NIfTI, NRRD or MetaImage, and the file is there."""
    return path.name.lower().endswith(VOLUME_SUFFIXES) and path.is_file()


def volumes_of_case(folder: Path) -> tuple[Path, ...]:
    """The volumes of a folder that are one case; none when there are others in it.

    They are numbered ``_0000``, ``_0001``..., or all called after the folder.
    """
    if not folder.is_dir():
        return ()
    files = tuple(path for path in sorted(folder.iterdir()) if path.name[0] != ".")
    volumes = tuple(path for path in files if is_volume_file(path))
    if all(path.name.startswith(folder.name) for path in volumes):
        return volumes
    cases = list(by_case(volumes, ()).values())
    is_case = len(cases) == 1 and sum(map(len, cases[0].values())) == len(volumes)
    return volumes if is_case and sorted(cases[0]) == list(range(len(volumes))) else ()


def holds_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or one of the first files anywhere in a folder is."""
    if path.is_file():
        return _is_dicom(path)
    files = (entry for entry in path.rglob("*") if entry.is_file())
    return any(_is_dicom(file) for file in islice(files, _FILES_TO_OPEN))


def is_label_file(path: Path) -> bool:
    """Whether the header alone says that a file is a label map."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _is_nifti_labels(path)
    if name.endswith(".seg.nrrd"):
        return True
    return path.is_file() and _is_dicom(path) and _is_dicom_segmentation(path)


def looks_like_labels(scan: Scan) -> bool:
    """Whether the voxels behave like labels: small whole numbers that seldom change.

    Every value is a whole number from 0 to 1023, and two thirds of the voxels that are not 0 equal
    their next neighbour; noise keeps a scan far below that.
    """
    if scan.channels != 1:
        return False
    values = scan.voxels[0]
    if not _small_whole_numbers(values):
        return False
    longest = int(np.argmax(values.shape))
    values = np.moveaxis(values, longest, 0)
    inside = values[:-1] > 0
    same = inside & (values[:-1] == values[1:])
    return bool(inside.any()) and float(same.sum() / inside.sum()) >= _EVEN


def _small_whole_numbers(values: npt.NDArray[Any]) -> bool:
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= _LARGEST_LABEL:
        return False
    return np.issubdtype(values.dtype, np.integer) or bool((values == np.round(values)).all())


def _is_nifti_labels(path: Path) -> bool:
    """By the intent code, or by the names that medseg writes into a header extension."""
    import nibabel

    try:
        header = nibabel.load(path).header
    except Exception:  # noqa: BLE001 - a damaged file; reading it will say how in one sentence
        return False
    if int(header["intent_code"]) == _NIFTI_INTENT_LABEL:
        return True
    return any(_NAMES_KEY in str(extension.get_content()) for extension in header.extensions)


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _is_dicom_segmentation(path: Path) -> bool:
    import pydicom

    from medseg.reading.dicom.sop_classes import label_storages

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return str(header.get("SOPClassUID", "")) in label_storages()
