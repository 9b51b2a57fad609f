"""Stored values of DICOM frames: decoded by pydicom, or taken as they lie in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import ReadError
from medseg.reading._dicom_frames import Frame
from medseg.reading._dicom_headers import PIXEL_FIELDS, DicomFile, as_numbers, as_text

if TYPE_CHECKING:
    from pydicom import Dataset

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_PIXEL_DATA = b"\xe0\x7f\x10\x00"  # tag (7FE0,0010), little endian
_UNDEFINED = b"\xff\xff\xff\xff"


@dataclass(frozen=True, eq=False)
class Encoded:
    """A file's header and its pixels as stored.

    Parameters
    ----------
    header : pydicom.Dataset
        Everything that decoding needs; for compressed pixels the whole dataset.
    pixels : bytes
        The value of PixelData.
    """

    header: Dataset
    pixels: bytes


def encoded(file: DicomFile) -> Encoded:
    """The pixels of a file, still encoded, checked to be all there.

    Parameters
    ----------
    file : DicomFile
        Its header is used again where the pixels are not compressed.

    Returns
    -------
    Encoded

    Raises
    ------
    ReadError
        Code ``TRUNCATED`` when pixels are missing, ``UNDECODABLE`` when the file is damaged.
    """
    from pydicom import dcmread

    with _faults_told(file.path):
        pixels = _plain_pixels(file)
        if pixels is not None:
            found = Encoded(file.header, pixels)
        else:
            dataset = dcmread(file.path, force=True, specific_tags=[*PIXEL_FIELDS, "PixelData"])
            found = Encoded(dataset, dataset.get("PixelData") or b"")
        _check_length(found, file.path)
        return found


def stored_values(source: Encoded, frame: Frame, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Stored values of a frame, shape (J, I), with only the BitsStored that count.

    Parameters
    ----------
    source : Encoded
        The frame's file.
    frame : Frame
        Which frame of it.
    shape : tuple of int
        Rows and columns it must have.

    Returns
    -------
    ndarray of int, shape (J, I)

    Raises
    ------
    ReadError
        When it cannot be decoded or has another size.
    """
    with _faults_told(frame.file.path):
        if _is_plain(source.header):
            return _only_stored_bits(_plain_values(source, frame.number, shape), source.header)
        array = _decoded(source.header, frame.number)
        if array.shape != shape:
            raise ValueError("the decoded image has another size than the header")
        return _only_stored_bits(array, source.header)


def _decoded(dataset: Dataset, frame: int) -> npt.NDArray[Any]:
    """Values of a frame, decoded by pydicom with the plugin that is fixed for its syntax."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = _transfer_syntax(dataset)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = syntax
    array, _ = get_decoder(syntax).as_array(
        dataset, index=frame, decoding_plugin=_plugin(syntax)
    )  # fmt: skip
    return array


def _plugin(syntax: Any) -> str:
    """The one plugin that decodes `syntax`, so that results do not depend on what is installed."""
    from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, RLELossless

    if not syntax.is_encapsulated:
        return ""
    by_pylibjpeg = (RLELossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)
    return "pylibjpeg" if syntax in by_pylibjpeg else "gdcm"


def _is_plain(header: Dataset) -> bool:
    """Whether pixels lie in the file as little-endian grey values of whole bytes."""
    bits = as_numbers(header, "BitsAllocated", 1)
    samples = as_numbers(header, "SamplesPerPixel", 1)
    whole_bytes = bits in ((8.0,), (16.0,), (32.0,))
    plain = _transfer_syntax(header) in (_IMPLICIT, _EXPLICIT)
    return whole_bytes and plain and samples in ((), (1.0,))


def _plain_pixels(file: DicomFile) -> bytes | None:
    """The value of PixelData, read without parsing the file again; None where that cannot be.

    References
    ----------
    DICOM PS3.5 7.1.2 and 7.1.3: tag, (VR and two reserved bytes,) length, value.
    """
    if not file.pixels_at or not _is_plain(file.header):
        return None
    start = 4 if _transfer_syntax(file.header) == _IMPLICIT else 8
    with file.path.open("rb") as stream:
        stream.seek(file.pixels_at)
        element = stream.read(start + 4)
        length = element[start:]
        if element[:4] != _PIXEL_DATA or length == _UNDEFINED:
            return None
        return stream.read(int.from_bytes(length, "little"))


def _plain_values(source: Encoded, frame: int, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Uncompressed little-endian values of a frame, shape (J, I)."""
    sign = "i" if source.header.PixelRepresentation else "u"
    kind = np.dtype(f"<{sign}{source.header.BitsAllocated // 8}")
    count = shape[0] * shape[1]
    start = frame * count * kind.itemsize
    return np.frombuffer(source.pixels, kind, count, start).reshape(shape)


def _only_stored_bits(array: npt.NDArray[Any], header: Dataset) -> npt.NDArray[Any]:
    """Drop what lies above HighBit and below BitsStored (old overlays) and extend the sign."""
    allocated, stored = array.dtype.itemsize * 8, int(header.BitsStored)
    high = as_numbers(header, "HighBit", 1)
    top = int(high[0]) + 1 if high else stored
    if not 0 < stored <= top <= allocated or allocated == stored:
        return array
    shifted: npt.NDArray[Any] = (array << (allocated - top)) >> (allocated - stored)
    return shifted


def _transfer_syntax(header: Dataset) -> Any:
    """Transfer syntax of the file; guessed from how it was parsed when it does not say."""
    from pydicom.uid import UID, ExplicitVRBigEndian

    stated = as_text(header.file_meta, "TransferSyntaxUID") if header.file_meta else ""
    if stated:
        return UID(stated)
    implicit, little = header.original_encoding
    if little:
        return UID(_IMPLICIT if implicit else _EXPLICIT)
    return ExplicitVRBigEndian


def _check_length(source: Encoded, path: Path) -> None:
    """Raise `ReadError` when pixels are missing, or fewer than an uncompressed header says."""
    if not source.pixels:
        raise _truncated(path, "it holds no pixels")
    if _transfer_syntax(source.header).is_encapsulated:
        return
    keys = (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("NumberOfFrames", 1))
    bits = int(source.header.BitsAllocated)
    for key, default in keys:
        numbers = as_numbers(source.header, key, 1)
        bits *= int(numbers[0]) if numbers else default
    stored, expected = len(source.pixels), bits // 8
    if stored < expected:
        raise _truncated(path, f"{stored} of {expected} bytes of pixels are there")


def _truncated(path: Path, why: str) -> ReadError:
    return ReadError(f"{path.name} is truncated: {why}; copy or export it again", code="TRUNCATED")


@contextmanager
def _faults_told(path: Path) -> Iterator[None]:
    """Turn what decoders raise into one `ReadError`; a file cut short is told as such."""
    try:
        yield
    except ReadError:
        raise
    except EOFError as error:
        raise _truncated(path, "it ends within its pixels") from error
    except Exception as error:  # decoders raise of every kind on damaged bytes
        raise ReadError(
            f"the pixels of {path.name} cannot be decoded ({type(error).__name__}); the file is"
            " damaged or its compression is not supported, export it uncompressed",
            code="UNDECODABLE",
        ) from error
