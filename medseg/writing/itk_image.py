"""NRRD and MetaImage, written by ITK; NRRD carries label names as 3D Slicer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, WriteError
from medseg.volume import Grid, Label, LabelMap, Scan
from medseg.volume.conventions import affine_from_itk, from_kji, itk_from_affine
from medseg.writing._atomic import atomic
from medseg.writing._selfcheck import check_read_back

suffixes = (".nrrd", ".mha")


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write a label map; .seg.nrrd files open as segmentations in 3D Slicer, names included.

    Parameters
    ----------
    labels : LabelMap
        What to write.
    path : Path
        Ends in .nrrd or .mha.

    Raises
    ------
    WriteError
        When the grid is sheared, or the file cannot be written or does not read back equal.
    """
    fields = _segment_fields(labels) if path.name.lower().endswith(".nrrd") else {}
    _write(labels.values[np.newaxis], labels.grid, path, fields)


def write_scan(scan: Scan, path: Path) -> None:
    """Write a scan; several channels become the components of its voxels.

    Parameters
    ----------
    scan : Scan
        What to write. bool is stored as uint8, float16 as float32.
    path : Path
        Ends in .nrrd or .mha.

    Raises
    ------
    WriteError
        When the grid is sheared, or the file cannot be written or does not read back equal.
    """
    kinds = {"bool": np.uint8, "float16": np.float32}
    voxels = scan.voxels.astype(kinds.get(scan.voxels.dtype.name, scan.voxels.dtype), copy=False)
    _write(voxels, scan.grid, path, {})


def _write(
    voxels: npt.NDArray[Any], grid: Grid, path: Path, fields: dict[str, str]
) -> None:  # fmt: skip
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


def _image(voxels: npt.NDArray[Any], grid: Grid) -> Any:
    """A SimpleITK image of voxels (C, I, J, K) on `grid`."""
    import SimpleITK

    try:
        spacing, origin, direction = itk_from_affine(grid.affine)
    except GeometryError as error:
        raise WriteError(f"{error}; write .nii.gz instead", code="SHEARED") from error
    array = from_kji(voxels)
    vector = voxels.shape[0] > 1
    array = np.moveaxis(array, 0, -1) if vector else array[0]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array), isVector=vector)
    image.SetSpacing([float(one) for one in spacing])
    image.SetOrigin([float(one) for one in origin])
    image.SetDirection([float(one) for one in direction.ravel()])
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
    fields = {"Segmentation_MasterRepresentation": "Binary labelmap"}
    for number, label in enumerate(labels.table):
        prefix = f"Segment{number}_"
        fields |= {
            f"{prefix}ID": f"Segment_{label.value}",
            f"{prefix}Name": label.name,
            f"{prefix}LabelValue": str(label.value),
            f"{prefix}Layer": "0",
            f"{prefix}Color": " ".join(f"{one / 255:.6f}" for one in label.color),
            f"{prefix}Extent": extent,
            f"{prefix}Tags": _terminology(label),
        }
    return fields


def _terminology(label: Label) -> str:
    """Slicer's terminology entry of a label's code; empty without a code."""
    if label.code is None:
        return ""
    code = f"{label.code.scheme}^{label.code.value}^{label.code.meaning}"
    category = "SCT^123037004^Anatomical Structure"
    return f"TerminologyEntry:medseg~{category}~{code}~^^~Anatomic codes~^^~^^|"
