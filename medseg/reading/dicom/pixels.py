"""Voxels of DICOM frames: decoded, rescaled slice by slice, padding replaced."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import ReadError
from medseg.reading.dicom.decoding import stored_frames
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.header_values import as_numbers, as_text, shown
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.pixel_data import PixelData, pixel_data_of
from medseg.runtime.progress import Progress
from medseg.volume.conventions import from_kji

if TYPE_CHECKING:
    from pydicom import Dataset

_AIR_HU = -1024


def read_voxels(
    frames: Sequence[Frame], *, progress: Progress
) -> tuple[npt.NDArray[Any], list[str]]:
    """Decode and rescale frames into one array.

    Returns
    -------
    voxels : ndarray of int16 or float32, shape (1, I, J, K)
        int16 when that is exact for every voxel of every slice, else float32. Colour has three
        channels, red, green and blue, as stored.
    notes : list of str
        Padding that was replaced, inverted display that was left alone.

    Raises
    ------
    ReadError
        When a file is truncated (code ``TRUNCATED``), damaged or in an encoding that cannot be
        decoded.
    """
    if frames[0].file.count("SamplesPerPixel", 1) > 1 or _has_palette(frames[0]):
        return _read_colour(frames, progress=progress)
    rows, columns = frames[0].size
    volume = _Volume(len(frames), rows, columns)
    padded = 0
    stored_size = frames[0].file.count("Rows"), frames[0].file.count("Columns")
    with closing(stored_frames(with_pixel_data(frames), stored_size)) as decoded:
        for k, (frame, (header, image)) in enumerate(zip(frames, decoded, strict=True)):
            stored = frame.part_of(image)
            values = _rescaled(stored, header, frame)
            mask = _padding(stored, header)
            if mask is not None and mask.any():
                padded += int(mask.sum())
                values[mask] = _AIR_HU
            volume.put(k, values)
            progress(k + 1, len(frames), "reading slices")
    return from_kji(volume.array)[np.newaxis], _notes(frames, padded)


def modality_values(frames: Sequence[Frame]) -> Generator[npt.NDArray[Any], None, None]:
    """The rescaled values of each frame, shape (J, I) or (J, I, samples), decoded by one crew."""
    if not frames:
        return
    stored_size = frames[0].file.count("Rows"), frames[0].file.count("Columns")
    with closing(stored_frames(with_pixel_data(frames), stored_size)) as decoded:
        for frame, (header, image) in zip(frames, decoded, strict=True):
            yield _rescaled(frame.part_of(image), header, frame)


def _read_colour(
    frames: Sequence[Frame], *, progress: Progress
) -> tuple[npt.NDArray[Any], list[str]]:
    """Red, green and blue of colour frames, shape (3, I, J, K)."""
    shape = frames[0].file.count("Rows"), frames[0].file.count("Columns")
    planes = []
    with closing(stored_frames(with_pixel_data(frames), shape)) as decoded:
        for k, (header, values) in enumerate(decoded):
            stored = _through_palette(values, header) if _has_palette(frames[k]) else values
            if stored.shape != (*shape, 3):
                raise ReadError(
                    f"{frames[k].file.path.name} has no three colours; export it in grey",
                    code="COLOUR",
                )
            planes.append(np.moveaxis(stored, -1, 0))
            progress(k + 1, len(frames), "reading slices")
    return from_kji(np.stack(planes, axis=1)), ["in colour: channels are red, green and blue"]


def _has_palette(frame: Frame) -> bool:
    return frame.file.text("PhotometricInterpretation") == "PALETTE COLOR"


def _through_palette(stored: npt.NDArray[Any], header: Dataset) -> npt.NDArray[Any]:
    """Red, green and blue of the numbers of a palette's colours, shape (J, I, 3).

    References
    ----------
    DICOM PS3.3 C.7.6.3.1.5 and C.7.9 (palette colour look-up tables).
    """
    from pydicom.pixels.processing import apply_color_lut

    return np.asarray(apply_color_lut(stored, header))


def _notes(frames: Sequence[Frame], padded: int) -> list[str]:
    notes = []
    if padded:
        notes.append(f"{padded} padding voxels (outside the field of view) are set to {_AIR_HU} HU")
    if frames[0].file.text("PhotometricInterpretation") == "MONOCHROME1":
        notes.append("MONOCHROME1: made to be shown inverted; the stored values are kept")
    return notes


def with_pixel_data(frames: Iterable[Frame]) -> Iterator[tuple[PixelData, Frame]]:
    """Each frame with the pixels of its file, still encoded; a file is read once for all of it."""
    last: tuple[DicomFile, PixelData] | None = None
    for frame in frames:
        if last is None or last[0] is not frame.file:
            last = frame.file, pixel_data_of(frame.file)
        yield last[1], frame


class _Volume:
    """A (K, J, I) array that is int16 as long as that is exact, and float32 from then on."""

    def __init__(self, slices: int, rows: int, columns: int) -> None:
        try:
            self.array: npt.NDArray[Any] = np.empty((slices, rows, columns), np.int16)
        except (MemoryError, ValueError) as error:
            raise ReadError(
                f"{slices} slices of {rows} x {columns} voxels do not fit into memory; is the"
                " header right?",
                code="TOO_LARGE",
            ) from error

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        return self.array.shape[1], self.array.shape[2]

    def put(self, k: int, values: npt.NDArray[Any]) -> None:
        """Store slice `k`; slices must come in order."""
        if self.array.dtype == np.int16 and not _fits_int16(values):
            wider = np.empty(self.array.shape, np.float32)
            wider[:k] = self.array[:k]
            self.array = wider
        self.array[k] = values


def _fits_int16(values: npt.NDArray[Any]) -> bool:
    if not np.issubdtype(values.dtype, np.integer):
        return False
    return bool(values.min() >= -32768 and values.max() <= 32767)


def _padding(stored: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_] | None:
    """Pixels (J, I) of a CT that are padding; None for other modalities or without padding."""
    value = as_numbers(dataset, "PixelPaddingValue", 1)
    if not value or as_text(dataset, "Modality") != "CT" or stored.dtype.kind == "f":
        return None
    limit = as_numbers(dataset, "PixelPaddingRangeLimit", 1) or value
    low, high = sorted(_as_stored(number[0], stored.dtype) for number in (value, limit))
    mask: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return mask


def _as_stored(number: float, dtype: np.dtype[Any]) -> int:
    """A padding value in the range of signed pixels, where a file wrote it as unsigned."""
    info = np.iinfo(dtype)
    value = int(number)
    return value - (1 << info.bits) if value > info.max and info.min < 0 else value


def _rescaled(stored: npt.NDArray[Any], dataset: Dataset, frame: Frame) -> npt.NDArray[Any]:
    """Modality values of a frame, shape (J, I): the smallest whole numbers, else float64.

    References
    ----------
    DICOM PS3.3 C.11.1 (Modality LUT) and C.7.6.16.2.9 (Pixel Value Transformation).
    """
    if frame.rescale is None and dataset.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(stored, dataset)).astype(np.int64)
    slope, intercept = frame.rescale or _stated_rescale(dataset, frame.file.path.name)
    if slope == 0:
        raise ReadError(
            f"{frame.file.path.name} has a RescaleSlope of 0, which would erase it; the header is"
            " wrong",
            code="BAD_RESCALE",
        )
    whole = slope.is_integer() and intercept.is_integer()
    if stored.dtype.kind == "f" and (slope, intercept) == (1.0, 0.0):
        return stored
    if not whole or stored.dtype.kind == "f":
        return stored * slope + intercept
    dtype = _exact_dtype(stored, int(slope), int(intercept))
    values: Any = stored.astype(dtype)
    if slope != 1:
        values *= dtype(slope)
    values += dtype(intercept)
    return np.asarray(values)


def _exact_dtype(stored: npt.NDArray[Any], slope: int, intercept: int) -> type[Any]:
    """The smallest kind of number that holds every rescaled value and both factors.

    What goes beyond it on the way comes back: whole numbers of n bits are exact modulo 2 ** n.
    """
    ends = [int(end) * slope + intercept for end in (stored.min(), stored.max())]
    largest = max(abs(number) for number in (*ends, slope, intercept))
    for dtype in (np.int16, np.int32, np.int64):
        if largest <= np.iinfo(dtype).max:
            return dtype
    return np.float64


def _stated_rescale(dataset: Dataset, name: str) -> tuple[float, float]:
    """RescaleSlope and RescaleIntercept of the file `name`, 1 and 0 where they are not given."""
    factors = []
    for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        numbers, text = as_numbers(dataset, keyword, 1), shown(dataset, keyword)
        if text and not numbers:
            raise ReadError(
                f"{name} says {keyword} {text}, which is no number; export it again",
                code="BAD_RESCALE",
            )
        factors.append(numbers[0] if numbers else default)
    return factors[0], factors[1]
