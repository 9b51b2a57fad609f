"""NIfTI: sform as given, label names inside the file, no text of patients or programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.volume import Grid, LabelMap, Provenance, Scan
from medseg.writing._atomic import atomic
from medseg.writing._selfcheck import check_read_back

suffixes = (".nii", ".nii.gz")

_COMMENT = 6  # ecode of a NIfTI header extension that holds text
_ORTHOGONAL_DEGREES = 0.01
_NIFTI1_LONGEST = 32767
_WRITABLE = ("uint8", "int16", "int32", "float32", "int8", "uint16", "uint32", "int64", "uint64")


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write a label map; readers see integers with the intent "label", medseg sees names too.

    The form is that of :class:`medseg.writing.protocol.LabelWriter`.
    """
    image = _image(labels.values, labels.grid, labels.provenance)
    image.header.set_intent("label")
    image.header.extensions.append(_extension({"medseg_labels": labels.table.labels}))
    _write(image, path, labels.values, labels.grid)


def write_scan(scan: Scan, path: Path) -> None:
    """Write a scan; several channels, or points of time, become the fourth axis, with their names.

    The form is that of :class:`medseg.writing.protocol.ScanWriter`. float64 and float16 are stored
    as float32.
    """
    voxels = scan.voxels
    if voxels.dtype.name not in _WRITABLE:
        voxels = voxels.astype(np.uint8 if voxels.dtype == bool else np.float32)
    array = voxels[0] if scan.channels == 1 else np.moveaxis(voxels, 0, 3)
    image = _image(array, scan.grid, scan.provenance)
    if scan.channels > 1 and scan.time_step_s > 0:
        image.header.set_xyzt_units(xyz="mm", t="sec")
        image.header["pixdim"][4] = scan.time_step_s
    if scan.channel_names:
        image.header.extensions.append(_extension({"medseg_channels": scan.channel_names}))
    _write(image, path, array, scan.grid)


def _image(array: npt.NDArray[Any], grid: Grid, source: Provenance) -> Any:
    """A nibabel image without scaling; the qform is set only where it can say the same.

    Neither form is set where left and right are not known and the grid is no other than that of a
    file without forms.
    """
    import nibabel as nib

    large = max(array.shape) > _NIFTI1_LONGEST
    image = (nib.Nifti2Image if large else nib.Nifti1Image)(array, None, dtype=array.dtype)
    header = image.header
    header["pixdim"][1:4] = grid.spacing_mm
    if source.laterality_known or not np.allclose(header.get_base_affine(), grid.affine):
        header.set_sform(grid.affine, code=source.xform_code)
        if grid.shear_degrees < _ORTHOGONAL_DEGREES:
            header.set_qform(grid.affine, code=source.xform_code)
    header.set_xyzt_units(xyz="mm")
    header.set_slope_inter(1, 0)
    return image


def _extension(content: dict[str, Any]) -> Any:
    """Names (of labels with colours and codes) as JSON in a header extension for comments."""
    import nibabel as nib

    return nib.nifti1.Nifti1Extension(_COMMENT, msgspec.json.encode(content))


def _write(image: Any, path: Path, array: npt.NDArray[Any], grid: Grid) -> None:
    """Write, read back, compare, and give the file its name."""
    zipped = path.name.lower().endswith(".gz")
    with atomic(path, suffix=".nii.gz" if zipped else ".nii") as temporary:
        _store(image, temporary, zipped=zipped)
        voxels, affine = _read_back(type(image), temporary, zipped=zipped)
        check_read_back(array, voxels, grid, affine)


def _store(image: Any, path: Path, *, zipped: bool) -> None:
    """Put the image into `path`; a gzip header holds no file name and no time."""
    import nibabel as nib
    from isal import igzip

    with path.open("xb") as file:
        if not zipped:
            image.to_file_map({"image": nib.FileHolder(fileobj=file)})
            return
        with igzip.IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as gz:
            image.to_file_map({"image": nib.FileHolder(fileobj=gz)})


def _read_back(kind: Any, path: Path, *, zipped: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Voxels and affine as the file gives them back."""
    import nibabel as nib
    from isal import igzip

    with igzip.open(path, "rb") if zipped else path.open("rb") as stream:
        image = kind.from_file_map({"image": nib.FileHolder(fileobj=stream)}, mmap=False)
        return np.asarray(image.dataobj), image.affine
