"""NRRD and MetaImage, written by ITK; NRRD carries label names as 3D Slicer reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, WriteError
from medseg.volume import Code, Grid, Label, LabelMap, Scan
from medseg.volume.conventions import affine_from_itk, from_kji, itk_from_affine
from medseg.writing._atomic import atomic
from medseg.writing._selfcheck import check_read_back
from medseg.writing.protocol import Obstacle

suffixes = (".nrrd", ".mha")
_SHEARED = "cannot hold a sheared grid (a tilted gantry); write .nii.gz instead"

_SEPARATOR = re.compile(r"[\^~|\r\n]")  # of the words in a terminology entry
_CATEGORIES = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGIONS = "Anatomic codes - DICOM master list"


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write a label map; .seg.nrrd files open as segmentations in 3D Slicer, with names and codes.

    The form is that of :class:`medseg.writing.protocol.LabelWriter`.

    Raises
    ------
    WriteError
        When the grid is sheared, or NRRD cannot hold a name or code, too.
    """
    fields = _segment_fields(labels) if path.name.lower().endswith(".nrrd") else {}
    _write(labels.values[np.newaxis], labels.grid, path, fields)


def write_scan(scan: Scan, path: Path) -> None:
    """Write a scan; several channels become the components of its voxels.

    The form is that of :class:`medseg.writing.protocol.ScanWriter`. bool is stored as uint8,
    float16 as float32.

    Raises
    ------
    WriteError
        When the grid is sheared, too.
    """
    kinds = {"bool": np.uint8, "float16": np.float32}
    voxels = scan.voxels.astype(kinds.get(scan.voxels.dtype.name, scan.voxels.dtype), copy=False)
    _write(voxels, scan.grid, path, {})


def _write(voxels: npt.NDArray[Any], grid: Grid, path: Path, fields: dict[str, str]) -> None:
    """Write voxels (C, I, J, K), read them back, compare, and give the file its name."""
    import SimpleITK

    image = _image(voxels, grid)
    for key, text in fields.items():
        image.SetMetaData(key, text)
    with atomic(path, suffix=path.suffix.lower()) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True, compressionLevel=1)
            stored = SimpleITK.ReadImage(str(temporary))
        except RuntimeError as error:
            raise WriteError(
                f"'{path}' could not be written; is the disk full, or the folder not writable?"
            ) from error
        affine = affine_from_itk(stored.GetSpacing(), stored.GetOrigin(), stored.GetDirection())
        check_read_back(voxels, _channels_first(stored), grid, affine)
        _check_fields(fields, stored)


def obstacle(subject: Scan | LabelMap) -> Obstacle | None:
    """Why the grid cannot be stored: sheared axes."""
    try:
        itk_from_affine(subject.grid.affine)
    except GeometryError:
        return Obstacle("SHEARED", _SHEARED)
    return None


def _check_fields(fields: dict[str, str], stored: Any) -> None:
    """Raise `WriteError` unless every text came back as it was."""
    keys = set(stored.GetMetaDataKeys())
    for key, text in fields.items():
        if key not in keys or stored.GetMetaData(key) != text:
            raise WriteError(
                f"{text!r} ({key}) did not read back equal, so the file was removed; leave out its"
                " unusual characters, or write .nii.gz instead",
                code="SELF_CHECK",
            )


def _image(voxels: npt.NDArray[Any], grid: Grid) -> Any:
    """A SimpleITK image of voxels (C, I, J, K) on `grid`."""
    import SimpleITK

    try:
        spacing, origin, direction = itk_from_affine(grid.affine)
    except GeometryError as error:
        raise WriteError(f"the file {_SHEARED}", code="SHEARED") from error
    array = from_kji(voxels)
    vector = voxels.shape[0] > 1
    array = np.moveaxis(array, 0, -1) if vector else array[0]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array), isVector=vector)
    image.SetSpacing([float(number) for number in spacing])
    image.SetOrigin([float(number) for number in origin])
    image.SetDirection([float(number) for number in direction.ravel()])
    return image


def _channels_first(image: Any) -> npt.NDArray[Any]:
    """Voxels of a 3-D SimpleITK image as (C, I, J, K)."""
    import SimpleITK

    array = SimpleITK.GetArrayFromImage(image)
    vector = image.GetNumberOfComponentsPerPixel() > 1
    return from_kji(np.moveaxis(array, -1, 0) if vector else array[np.newaxis])


def _segment_fields(labels: LabelMap) -> dict[str, str]:
    """3D Slicer's fields for every label of the table."""
    extent = " ".join(f"0 {count - 1}" for count in labels.grid.shape)
    fields = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, label in enumerate(labels.table):
        prefix = f"Segment{number}_"
        fields |= {
            f"{prefix}ID": f"Segment_{label.value}",
            f"{prefix}Name": label.name,
            f"{prefix}NameAutoGenerated": "0",
            f"{prefix}ColorAutoGenerated": "0",
            f"{prefix}LabelValue": str(label.value),
            f"{prefix}Layer": "0",
            f"{prefix}Color": " ".join(f"{component / 255:.6f}" for component in label.color),
            f"{prefix}Extent": extent,
            f"{prefix}Tags": _terminology(label),
        }
    return fields


def _terminology(label: Label) -> str:
    """3D Slicer's terminology entry of a label's code; without a code it is some tissue."""
    codes = "~".join(
        _terminology_code(code) for code in (label.property_category, label.property_type)
    )
    return f"TerminologyEntry:{_CATEGORIES}~{codes}~^^~{_REGIONS}~^^~^^|"


def _terminology_code(code: Code) -> str:
    """A code in a terminology entry, which knows no way to hold its own separators."""
    if _SEPARATOR.search(code.scheme + code.value):
        raise WriteError(
            f"the code '{code.scheme} {code.value}' has characters that separate codes in NRRD;"
            " correct it, or write .nii.gz instead",
            code="CODE",
        )
    return f"{code.scheme}^{code.value}^{_SEPARATOR.sub(' ', code.meaning)}"
