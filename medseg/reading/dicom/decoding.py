"""Stored values of DICOM frames: decoded by pydicom, or taken as they lie in the file."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import ReadError
from medseg.reading.dicom.codestream import near_lossless, stated_bits, stated_size
from medseg.reading.dicom.decoder_pool import DecoderPool, prewarm
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.header_values import as_text, as_whole
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.pixel_data import JPEG_EXTENDED, PixelData, as_read_errors, is_plain

if TYPE_CHECKING:
    from pydicom import Dataset

_Values = Callable[[], npt.NDArray[Any]]


def prewarm_decoder(file: DicomFile) -> None:
    """Start what decodes a file's pixels, where they are compressed, before they are read."""
    with suppress(ValueError):  # what the header states is no transfer syntax; reading raises
        syntax = file.transfer_syntax
        if syntax.is_encapsulated:
            prewarm(str(syntax))


def stored_frames(
    items: Iterable[tuple[PixelData, Frame]], shape: tuple[int, int]
) -> Generator[tuple[Dataset, npt.NDArray[Any]], None, None]:
    """Header and stored values of frames, with only the BitsStored that count.

    Compressed frames are decoded by other processes, several at once and some ahead.

    Parameters
    ----------
    items : iterable of (PixelData, Frame)
        Each frame with its file.
    shape : tuple of int
        Rows and columns they must have.

    Yields
    ------
    header : pydicom.Dataset
    stored : ndarray of int, shape (J, I), of colour (J, I, samples)

    Raises
    ------
    ReadError
        When a frame cannot be decoded or has another size.
    """
    with DecoderPool() as pool:
        pending: deque[tuple[PixelData, Frame, _Values]] = deque()
        for source, frame in items:
            with as_read_errors(frame.file.path):
                pending.append((source, frame, _start(source, frame, shape, pool)))
            while len(pending) > pool.ahead:
                yield _finish(*pending.popleft(), shape)
        while pending:
            yield _finish(*pending.popleft(), shape)


def _start(source: PixelData, frame: Frame, shape: tuple[int, int], pool: DecoderPool) -> _Values:
    """What gives the values of a frame; work elsewhere has begun."""
    if is_plain(source):
        return functools.partial(_plain_values, source, frame.number, shape)
    syntax = source.transfer_syntax
    if not syntax.is_encapsulated:
        return functools.partial(_by_pydicom, source, frame.number)
    fragment = source.fragments[frame.number]
    if stated_size(fragment) not in (None, shape):
        raise ValueError("the compressed image has another size than the header")
    options = {**_options(source.header), "syntax": syntax, "plugin": _plugin(syntax)}
    if syntax == JPEG_EXTENDED:
        options["precision"] = stated_bits(fragment)
    values = pool.decode(fragment, options).result
    signed = near_lossless(fragment) if options.get("pixel_representation") else None
    return (
        functools.partial(_with_checked_sign, values, frame.file.path, *signed)
        if signed
        else values
    )


def _with_checked_sign(values: _Values, path: Path, bits: int, near: int) -> npt.NDArray[Any]:
    """Signed values of a JPEG-LS frame that cannot have gone round the ends of their range.

    JPEG-LS knows no sign: the largest value and the smallest are neighbours in the middle of its
    range, and what may be `near` off may be on the other side.

    Raises
    ------
    ReadError
        Code ``SIGN_LOST``.
    """
    array = values()
    end = 1 << (bits - 1)
    if near and (array.min() < near - end or array.max() >= end - near):
        raise ReadError(
            f"{path.name} has signed values at the end of their range and was compressed with loss"
            f" (JPEG-LS, up to {near} off), which may have changed their sign; export it without"
            " loss",
            code="SIGN_LOST",
        )
    return array


def _finish(
    source: PixelData, frame: Frame, values: _Values, shape: tuple[int, int]
) -> tuple[Dataset, npt.NDArray[Any]]:
    with as_read_errors(frame.file.path):
        array = values()
        if array.shape[:2] != shape:
            raise ValueError("the decoded image has another size than the header")
        return source.header, _only_stored_bits(array, source.header)


def _options(header: Dataset) -> dict[str, str | int]:
    """What pydicom's decoder must know about one frame."""
    keywords = {
        "rows": "Rows",
        "columns": "Columns",
        "samples_per_pixel": "SamplesPerPixel",
        "bits_allocated": "BitsAllocated",
        "bits_stored": "BitsStored",
        "pixel_representation": "PixelRepresentation",
        "planar_configuration": "PlanarConfiguration",
    }
    numbers = {key: as_whole(header, keyword) for key, keyword in keywords.items()}
    options: dict[str, str | int] = {
        key: number for key, number in numbers.items() if number is not None
    }
    options.setdefault("samples_per_pixel", 1)
    options["photometric_interpretation"] = as_text(header, "PhotometricInterpretation")
    options["number_of_frames"] = 1
    return options


def _by_pydicom(source: PixelData, frame: int) -> npt.NDArray[Any]:
    """Values of a frame, brought into order by pydicom in this process."""
    from pydicom.pixels.decoders.base import get_decoder

    dataset, syntax = source.header, source.transfer_syntax
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = syntax
    array, _ = get_decoder(syntax).as_array(dataset, index=frame, decoding_plugin=_plugin(syntax))
    return array


def _plugin(syntax: Any) -> str:
    """The one plugin that decodes `syntax`, so that results do not depend on what is installed."""
    from pydicom.uid import (
        HTJ2K,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        JPEGLSTransferSyntaxes,
        RLELossless,
    )

    if not syntax.is_encapsulated:
        return ""
    if syntax in JPEGLSTransferSyntaxes:
        return "pyjpegls"
    by_pylibjpeg = (RLELossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)
    return "pylibjpeg" if syntax in by_pylibjpeg else "gdcm"


def _plain_values(source: PixelData, frame: int, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Uncompressed little-endian values of a frame, shape (J, I)."""
    count, dtype = shape[0] * shape[1], source.dtype
    start = frame * count * dtype.itemsize
    return np.frombuffer(source.pixels, dtype, count, start).reshape(shape)


def _only_stored_bits(array: npt.NDArray[Any], header: Dataset) -> npt.NDArray[Any]:
    """Drop what lies above HighBit and below BitsStored (old overlays) and extend the sign."""
    if array.dtype.kind == "f":
        return array
    allocated, stored = array.dtype.itemsize * 8, int(header.BitsStored)
    high = as_whole(header, "HighBit")
    top = stored if high is None else high + 1
    if not 0 < stored <= top <= allocated or allocated == stored:
        return array
    shifted: npt.NDArray[Any] = array << (allocated - top)
    shifted >>= allocated - stored
    return shifted
