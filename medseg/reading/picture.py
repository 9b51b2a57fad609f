"""PNG, JPEG and TIFF pictures, grey or in colour: voxels without a place or a size in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError, ReadError
from medseg.reading.error_context import in_file
from medseg.reading.limits import completed, float32_unless_integer, single_channel
from medseg.runtime.progress import Progress
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.conventions import affine_from_itk, from_kji
from medseg.volume.label_map import as_label_values

_READERS = {
    ".png": "PNGImageIO",
    ".jpg": "JPEGImageIO",
    ".jpeg": "JPEGImageIO",
    ".tif": "TIFFImageIO",
    ".tiff": "TIFFImageIO",
}
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")
_ENDS = {"PNGImageIO": b"IEND\xaeB`\x82", "JPEGImageIO": b"\xff\xd9"}
_MOST_PIXELS = 1 << 28
_NO_POSITION = (
    "PIXELS_ONLY: a picture; spacing is unknown, a pixel counts as 1 mm and is not, left and right"
    " are not known"
)


def recognises(path: Path) -> bool:
    """Whether `path` is called, and begins, as PNG, JPEG or TIFF."""
    if not path.is_file() or path.suffix.lower() not in _READERS:
        return False
    with path.open("rb") as file:
        return file.read(8).startswith(_STARTS)


def read(path: Path, *, series: str | None, progress: Progress) -> Scan:
    """Read a picture; colours become the channels, an alpha channel is left out.

    The form is that of :class:`medseg.reading.protocol.ScanReader`. Of the voxels (C, I, J, K), I
    runs along the rows, J downwards, and K is the page of a TIFF.
    """
    voxels, notes = _load(path)
    with in_file(path):
        grid = _grid(voxels)
        scan = Scan(float32_unless_integer(voxels), grid, provenance=_provenance(path, notes))
    progress(1, 1, f"read {path.name}")
    return scan


def read_labels(path: Path, *, table: LabelTable | None) -> LabelMap:
    """Read a mask: a grey PNG or TIFF whose values are labels.

    The form is that of :class:`medseg.reading.protocol.LabelReader`.

    Raises
    ------
    LabelError
        When it is a JPEG or in colour, too.
    """
    voxels, notes = _load(path)
    with in_file(path):
        if _READERS[path.suffix.lower()] == "JPEGImageIO":
            raise LabelError("JPEG changes values, so it cannot hold labels; give PNG or TIFF")
        values = as_label_values(single_channel(voxels))
        names = table or completed((), values)
        return LabelMap(values, _grid(voxels), names, _provenance(path, notes))


def _provenance(path: Path, notes: Sequence[str]) -> Provenance:
    return Provenance(
        "picture",
        (path,),
        notes=(_NO_POSITION, *notes),
        laterality_known=False,
        has_physical_size=False,
    )


def _load(path: Path) -> tuple[npt.NDArray[Any], list[str]]:
    """Voxels (C, I, J, K) and notes."""
    import SimpleITK

    kind = _READERS[path.suffix.lower()]
    _check_end(path, kind)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(kind)
    try:
        reader.ReadImageInformation()
        _check_size(path, reader.GetSize(), reader.GetNumberOfComponents())
        image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        raise ReadError(
            f"{path.name} cannot be read as a picture: it is truncated, damaged or another format;"
            " copy or export it again"
        ) from error
    array = SimpleITK.GetArrayFromImage(image)
    components = image.GetNumberOfComponentsPerPixel()
    planes = np.moveaxis(array, -1, 0) if components > 1 else array[np.newaxis]
    if image.GetDimension() == 2:
        planes = planes[:, np.newaxis]
    notes = ["its alpha channel is left out"] if components in (2, 4) else []
    return from_kji(planes[: components - len(notes)]), notes


def _check_end(path: Path, kind: str) -> None:
    """Raise `ReadError` when a PNG or JPEG lacks its end, which decoders fill in unasked."""
    if kind not in _ENDS:
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        tail = file.read()
    if _ENDS[kind] not in tail:
        raise ReadError(
            f"{path.name} is truncated: its end is missing; copy it again", code="TRUNCATED"
        )


def _check_size(path: Path, size: tuple[int, ...], components: int) -> None:
    if math.prod(size) * components > _MOST_PIXELS:
        extent = " x ".join(str(count) for count in size)
        raise ReadError(
            f"{path.name} has {extent} pixels, more than fit into memory; cut it into pieces",
            code="TOO_LARGE",
        )


def _grid(voxels: npt.NDArray[Any]) -> Grid:
    """A grid of 1 mm voxels from the origin, as picture viewers show it."""
    _, i, j, k = voxels.shape
    return Grid((i, j, k), affine_from_itk(np.ones(3), np.zeros(3), np.eye(3)))
