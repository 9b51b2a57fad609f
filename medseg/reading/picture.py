"""PNG, JPEG and TIFF pictures, grey or in colour: voxels without a place or a size in mm.

ITK decodes them. Pillow takes over where ITK gives other pixels than viewers show: for pictures
that are stored turned, for palettes, and for one to four bits.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
_PLUGINS = {
    "PNGImageIO": "PngImagePlugin.PngImageFile",
    "JPEGImageIO": "JpegImagePlugin.JpegImageFile",
    "TIFFImageIO": "TiffImagePlugin.TiffImageFile",
}
"""Of Pillow."""
_FAULTS = (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error)
"""What Pillow raises on damaged bytes, and on forms that it does not know."""
_ORIENTATION, _BITS = 274, 258  # tags of EXIF and TIFF
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


@dataclass(frozen=True)
class _Form:
    """How a picture is stored.

    Parameters
    ----------
    mode : str
        Pillow's word.
    bits : int
        Of one number.
    turned : bool
        Whether it is to be shown turned or mirrored.
    """

    mode: str = ""
    bits: int = 8
    turned: bool = False

    @property
    def is_scaled(self) -> bool:
        """Whether decoders spread its one to four bits over 0 to 255."""
        return self.mode == "1" or (self.mode == "L" and self.bits < 8)


def read(path: Path, *, series: str | None, progress: Progress) -> Scan:
    """Read a picture as viewers show it; an alpha channel is left out.

    The form is that of :class:`medseg.reading.protocol.ScanReader`. Of the voxels (C, I, J, K), C
    are the colours, I runs along the rows, J downwards, and K is the page of a TIFF.
    """
    form = _form(path)
    voxels = _load(path, form, "RGB" if form.mode in ("P", "PA", "CMYK") else form.mode)
    notes = []
    if len(voxels) in (2, 4):
        voxels, notes = voxels[:-1], ["its alpha channel is left out"]
    with in_file(path):
        grid = _grid(voxels)
        scan = Scan(float32_unless_integer(voxels), grid, provenance=_provenance(path, notes))
    progress(1, 1, f"read {path.name}")
    return scan


def read_labels(path: Path, *, table: LabelTable | None) -> LabelMap:
    """Read a mask: a PNG or TIFF whose numbers are labels, however they are shown.

    The form is that of :class:`medseg.reading.protocol.LabelReader`. Of a palette the index
    counts, of one to four bits the number as it is stored, and of colours one where all are equal.
    What is transparent is background. White of one bit is 1, or 255 where `table` has only that.

    Raises
    ------
    LabelError
        When it is a JPEG, in colour, or half transparent, too.
    """
    form = _form(path)
    if _kind(path) == "JPEGImageIO":
        raise LabelError(
            f"{path.name}: JPEG changes values, so it cannot hold labels; give PNG or TIFF"
        )
    voxels = _load(path, form, form.mode)
    with in_file(path):
        values = as_label_values(_one_channel(voxels))
        if form.is_scaled:
            values = values // (255 // (2**form.bits - 1))
        if form.mode == "1" and table and 255 in table.values and 1 not in table.values:
            values = values * np.uint8(255)
        names = table or completed((), values)
        return LabelMap(values, _grid(voxels), names, _provenance(path, ()))


def _one_channel(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The numbers (I, J, K) of a mask (C, I, J, K) whose colours are equal; 0 where transparent."""
    colours, alpha = (voxels[:-1], voxels[-1]) if len(voxels) in (2, 4) else (voxels, None)
    unequal = np.argwhere((colours != colours[:1]).any(axis=0))
    if len(unequal):
        i, j, k = unequal[0]
        shown = tuple(int(number) for number in colours[:, i, j, k])
        raise LabelError(
            f"it is in colour, such as {shown} at column {i}, row {j}, and colours are no label"
            " values; save the mask in grey, or with a palette whose index is the label"
        )
    if alpha is None:
        return single_channel(colours[:1])
    if not np.isin(alpha, (0, np.iinfo(alpha.dtype).max)).all():
        raise LabelError("it is half transparent in places; save the mask without transparency")
    opaque: npt.NDArray[Any] = np.where(alpha > 0, colours[0], 0)
    return opaque


def _provenance(path: Path, notes: Sequence[str]) -> Provenance:
    return Provenance(
        "picture",
        (path,),
        notes=(_NO_POSITION, *notes),
        laterality_known=False,
        has_physical_size=False,
    )


def _kind(path: Path) -> str:
    return _READERS[path.suffix.lower()]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The picture in Pillow, its pixels not yet decoded."""
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin
    import PIL.TiffImagePlugin

    module, name = _PLUGINS[_kind(path)].split(".")
    with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
        yield getattr(getattr(PIL, module), name)(file)


def _form(path: Path) -> _Form:
    """How a picture is stored; nothing special of those that Pillow does not know."""
    _check_end(path, _kind(path))
    try:
        with _opened(path) as image:
            bits, mode = 8, image.mode
            if _kind(path) == "TIFFImageIO":
                bits = int(image.tag_v2.get(_BITS, (1,))[0])
            elif _kind(path) == "PNGImageIO":
                with path.open("rb") as file:
                    bits = file.read(25)[24]
            turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except _FAULTS:
        return _Form()
    return _Form(mode, bits, turned)


def _load(path: Path, form: _Form, mode: str) -> npt.NDArray[Any]:
    """Voxels (C, I, J, K), alpha among the channels; from Pillow in this `mode` of its own."""
    if not (form.turned or form.is_scaled or form.mode in ("P", "PA", "LA")):
        return _decoded_by_itk(path)
    if form.bits > 8 and form.mode in ("RGB", "RGBA", "LA"):
        raise ReadError(
            f"{path.name} holds {form.bits}-bit colours that are stored turned, or with grey and"
            " alpha, which cannot be read; save it upright and without alpha"
        )
    return _decoded_by_pillow(path, mode)


def _decoded_by_pillow(path: Path, mode: str) -> npt.NDArray[Any]:
    from PIL import ImageOps, ImageSequence

    mode = "L" if mode == "1" else mode
    try:
        with _opened(path) as image:
            _check_size(path, (*image.size, getattr(image, "n_frames", 1)), 4)
            pages = []
            for page in ImageSequence.Iterator(image):
                upright = ImageOps.exif_transpose(page)
                pages.append(np.asarray(upright if upright.mode == mode else upright.convert(mode)))
            stacked = np.stack(pages)
    except _FAULTS as error:
        raise _damaged(path) from error
    return from_kji(np.moveaxis(stacked, -1, 0) if stacked.ndim == 4 else stacked[np.newaxis])


def _decoded_by_itk(path: Path) -> npt.NDArray[Any]:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_kind(path))
    try:
        reader.ReadImageInformation()
        _check_size(path, reader.GetSize(), reader.GetNumberOfComponents())
        image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        raise _damaged(path) from error
    array = SimpleITK.GetArrayFromImage(image)
    components = image.GetNumberOfComponentsPerPixel()
    planes = np.moveaxis(array, -1, 0) if components > 1 else array[np.newaxis]
    if image.GetDimension() == 2:
        planes = planes[:, np.newaxis]
    return from_kji(planes)


def _damaged(path: Path) -> ReadError:
    return ReadError(
        f"{path.name} cannot be read as a picture: it is truncated, damaged or another format;"
        " copy or export it again"
    )


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
