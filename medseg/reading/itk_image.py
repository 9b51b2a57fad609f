"""NRRD, MetaImage and GIPL files, read by ITK."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import ReadError
from medseg.reading._seg_nrrd import stored_labels
from medseg.reading._silence import silent_stderr
from medseg.reading.error_context import in_file
from medseg.reading.limits import (
    check_growth,
    completed,
    float32_unless_integer,
    single_channel,
)
from medseg.reading.text_headers import StatedLengths, stated_lengths
from medseg.runtime.progress import Progress
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.conventions import affine_from_itk, flip_lps_ras, from_kji, ras_from
from medseg.volume.label_map import as_label_values

_UNZIPPED = (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl")
_GIPL_HEADER_BYTES = 256
_ZIPPED = (".mha.gz", ".gipl.gz", ".nrrd.gz")


def recognises(path: Path) -> bool:
    """Whether `path` has an ending of NRRD, MetaImage or GIPL."""
    return path.is_file() and path.name.lower().endswith((*_UNZIPPED, *_ZIPPED))


def read(path: Path, *, series: str | None, progress: Progress) -> Scan:
    """Read a scan; vector components, or a fourth axis, become the channels.

    The form is that of :class:`medseg.reading.protocol.ScanReader`; .mha, .nrrd and .gipl files may
    be gzipped.
    """
    voxels, affine, metadata, stated = _load(path)
    with in_file(path):
        grid = Grid(voxels.shape[1:], affine)
        scan = Scan(
            float32_unless_integer(voxels),
            grid,
            _modality(metadata.get("Modality", "")),
            _provenance(path, voxels, stated),
        )
    progress(1, 1, f"read {path.name}")
    return scan


def read_labels(path: Path, *, table: LabelTable | None) -> LabelMap:
    """Read a label map; names come from `table`, else from 3D Slicer's fields in a NRRD header.

    The form is that of :class:`medseg.reading.protocol.LabelReader`; codes come from Slicer's
    terminology entries.
    """
    voxels, affine, metadata, stated = _load(path)
    with in_file(path):
        values = as_label_values(single_channel(voxels))
        label_table = table or completed(stored_labels(metadata), values)
        source = _provenance(path, voxels, stated)
        return LabelMap(values, Grid(values.shape, affine), label_table, source)


def _load(
    path: Path,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], dict[str, str], StatedLengths]:
    """Voxels (C, I, J, K), RAS+ affine, the header's text fields, and what it says of lengths."""
    with _unzipped(path) as unzipped:
        with in_file(path):
            stated = _stated(path, unzipped)
        image = _executed(path, unzipped)
        with in_file(path):
            voxels = _channels_first(image)
            if _format(path) == "gipl":
                _check_gipl_length(unzipped, voxels)
    metadata = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    given = ras_from(flip_lps_ras(_affine(image)), stated.world)
    affine = np.diag([*[stated.mm] * 3, 1.0]) @ given
    return voxels, affine, metadata, stated


def _executed(path: Path, unzipped: Path) -> Any:
    """The image as ITK reads it, or a `ReadError`."""
    import SimpleITK

    try:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(unzipped))
        with silent_stderr():
            reader.ReadImageInformation()
        _check_stated_size(unzipped, reader)
        with silent_stderr():
            return reader.Execute()
    except (RuntimeError, MemoryError, ValueError) as error:
        raise ReadError(
            f"{path.name} cannot be read as {_format(path)}: it is truncated, damaged or"
            " another format; copy or export it again"
        ) from error


def _stated(path: Path, unzipped: Path) -> StatedLengths:
    """What the file says about lengths and sides."""
    if _format(path) != "gipl":
        return stated_lengths(unzipped)
    note = "GIPL has no orientation: left and right are not known for certain"
    return StatedLengths(notes=(note,), laterality_known=False)


def _modality(word: str) -> str:
    """DICOM's word for MetaImage's, as ``MET_MOD_CT``; "" where it says "unknown" or "other"."""
    own = word.removeprefix("MET_MOD_")
    return "" if own in ("UNKNOWN", "OTHER") else own


def _check_stated_size(path: Path, reader: Any) -> None:
    """Raise `ReadError` before ITK allocates what a lying header asks for."""
    if path.suffix in (".mhd", ".nhdr"):  # the voxels are in other files
        return
    voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    check_growth(path, voxels)


def _channels_first(image: Any) -> npt.NDArray[Any]:
    """Voxels of a SimpleITK image as (C, I, J, K)."""
    import SimpleITK

    dimension, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dimension > 4 or (dimension == 4 and components > 1):
        raise ReadError(f"it has {dimension} axes of {components} components; four in all fit")
    array = SimpleITK.GetArrayFromImage(image)
    if components > 1:
        array = np.moveaxis(array, -1, 0)
    elif dimension < 4:
        array = array[np.newaxis]
    if dimension == 2:
        array = array[:, np.newaxis]
    return from_kji(array)


def _check_gipl_length(path: Path, voxels: npt.NDArray[Any]) -> None:
    """Raise `ReadError` for a GIPL file that is too short; ITK would fill in stray memory."""
    expected, stored = _GIPL_HEADER_BYTES + voxels.nbytes, path.stat().st_size
    if stored < expected:
        raise ReadError(
            f"it is truncated: {stored} of {expected} bytes are there; copy it again",
            code="TRUNCATED",
        )


def _affine(image: Any) -> npt.NDArray[Any]:
    """RAS+ affine of a SimpleITK image of two to four axes; a 2-D image lies in one plane."""
    dimension = image.GetDimension()
    spacing, origin = np.ones(3), np.zeros(3)
    direction = np.eye(3)
    axes = min(dimension, 3)
    spacing[:axes] = image.GetSpacing()[:axes]
    origin[:axes] = image.GetOrigin()[:axes]
    cosines = np.asarray(image.GetDirection()).reshape(dimension, dimension)
    direction[:axes, :axes] = cosines[:axes, :axes]
    return affine_from_itk(spacing, origin, direction)


def _provenance(path: Path, voxels: npt.NDArray[Any], stated: StatedLengths) -> Provenance:
    notes = list(stated.notes)
    if voxels.shape[0] > 1:
        notes.append(f"its {voxels.shape[0]} components or time points are read as channels")
    return Provenance(
        _format(path),
        (path,),
        notes=tuple(notes),
        laterality_known=stated.laterality_known,
        has_physical_size=stated.has_physical_size,
    )


def _format(path: Path) -> str:
    """Name of the format by the ending."""
    name = path.name.lower().removesuffix(".gz")
    return {"nrrd": "nrrd", "nhdr": "nrrd", "gipl": "gipl"}.get(
        name.rpartition(".")[2], "metaimage"
    )


@contextmanager
def _unzipped(path: Path) -> Iterator[Path]:
    """A path that ITK reads; .mha.gz and .nrrd.gz are gunzipped into a temporary folder."""
    if not path.name.lower().endswith(_ZIPPED):
        yield path
        return
    from isal import igzip, isal_zlib

    faults: Any = (OSError, EOFError, isal_zlib.error)
    with tempfile.TemporaryDirectory(prefix="medseg-") as folder:
        unzipped = Path(folder, "image" + Path(path.name[:-3]).suffix.lower())
        try:
            with igzip.open(path, "rb") as source, unzipped.open("wb") as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)
                    check_growth(path, target.tell())
        except faults as error:
            raise ReadError(
                f"{path.name} cannot be gunzipped: it is truncated or damaged; copy it again"
            ) from error
        yield unzipped
