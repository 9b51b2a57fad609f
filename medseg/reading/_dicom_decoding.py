"""Stored values of DICOM frames: decoded by pydicom, or taken as they lie in the file."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import ReadError
from medseg.reading._codestream_size import stated_size
from medseg.reading._decoding_crew import Crew, DecodingError, expect_frames
from medseg.reading._dicom_frames import Frame
from medseg.reading._dicom_headers import (
    PIXEL_FIELDS,
    DicomFile,
    as_numbers,
    as_text,
    harmless,
)
from medseg.reading._dicom_opening import dataset_of

if TYPE_CHECKING:
    from pydicom import Dataset

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_PIXEL_DATA = b"\xe0\x7f\x10\x00"  # tag (7FE0,0010), little endian
_UNDEFINED = b"\xff\xff\xff\xff"

_Values = Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A file's header and its pixels as stored.

    Parameters
    ----------
    header : pydicom.Dataset
        Everything that decoding needs.
    pixels : bytes
        The value of PixelData.
    """

    header: Dataset
    pixels: bytes

    @functools.cached_property
    def fragments(self) -> list[bytes]:
        """Compressed bytes of each frame."""
        from pydicom.encaps import generate_frames

        count = as_numbers(self.header, "NumberOfFrames", 1)
        offsets = [
            self.header.get(key) for key in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
        ]
        table = (offsets[0], offsets[1]) if all(offsets) else None
        return list(
            generate_frames(
                self.pixels,
                number_of_frames=int(count[0]) if count else 1,
                extended_offsets=table,
            )
        )


def expect_pixels(file: DicomFile) -> None:
    """Start what decodes a file's pixels, where they are compressed, before they are read.

    Parameters
    ----------
    file : DicomFile
        Only its header is looked at.
    """
    with suppress(ValueError):  # what the header states is no transfer syntax; reading tells
        if transfer_syntax(file.header).is_encapsulated:
            expect_frames()


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
    with _faults_told(file.path):
        pixels = _plain_pixels(file)
        if pixels is not None:
            found = Encoded(file.header, pixels)
        else:
            fields = [*PIXEL_FIELDS, "PixelData"]
            dataset = dataset_of(file.path, force=True, specific_tags=fields)
            found = Encoded(dataset, dataset.get("PixelData") or b"")
        _check_length(found, file.path)
        return found


def stored_frames(
    items: Iterable[tuple[Encoded, Frame]], shape: tuple[int, int]
) -> Generator[tuple[Dataset, npt.NDArray[Any]], None, None]:
    """Header and stored values of frames, with only the BitsStored that count.

    Compressed frames are decoded by other processes, several at once and some ahead.

    Parameters
    ----------
    items : iterable of (Encoded, Frame)
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
    with Crew() as crew:
        waiting: deque[tuple[Encoded, Frame, _Values]] = deque()
        for source, frame in items:
            with _faults_told(frame.file.path):
                waiting.append((source, frame, _begun(source, frame, shape, crew)))
            while len(waiting) > crew.ahead:
                yield _ended(*waiting.popleft(), shape)
        while waiting:
            yield _ended(*waiting.popleft(), shape)


def _begun(source: Encoded, frame: Frame, shape: tuple[int, int], crew: Crew) -> _Values:
    """What gives the values of a frame; work elsewhere has begun."""
    if _is_plain(source.header):
        return functools.partial(_plain_values, source, frame.number, shape)
    syntax = transfer_syntax(source.header)
    if not syntax.is_encapsulated:
        return functools.partial(_unpacked, source, frame.number)
    fragment = source.fragments[frame.number]
    if stated_size(fragment) not in (None, shape):
        raise ValueError("the compressed image has another size than the header")
    options = {**_options(source.header), "syntax": syntax, "plugin": _plugin(syntax)}
    return crew.decode(fragment, options).result


def _ended(
    source: Encoded, frame: Frame, values: _Values, shape: tuple[int, int]
) -> tuple[Dataset, npt.NDArray[Any]]:
    with _faults_told(frame.file.path):
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
    numbers = {key: as_numbers(header, word, 1) for key, word in keywords.items()}
    options: dict[str, str | int] = {key: int(one[0]) for key, one in numbers.items() if one}
    options.setdefault("samples_per_pixel", 1)
    options["photometric_interpretation"] = as_text(header, "PhotometricInterpretation")
    options["number_of_frames"] = 1
    return options


def _unpacked(source: Encoded, frame: int) -> npt.NDArray[Any]:
    """Values of a frame, brought into order by pydicom in this process."""
    from pydicom.pixels.decoders.base import get_decoder

    dataset, syntax = source.header, transfer_syntax(source.header)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = syntax
    array, _ = get_decoder(syntax).as_array(
        dataset, index=frame, decoding_plugin=_plugin(syntax)
    )  # fmt: skip
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


def _is_plain(header: Dataset) -> bool:
    """Whether pixels lie in the file as little-endian grey values of whole bytes."""
    bits = as_numbers(header, "BitsAllocated", 1)
    samples = as_numbers(header, "SamplesPerPixel", 1)
    whole_bytes = bits in ((8.0,), (16.0,), (32.0,))
    plain = transfer_syntax(header) in (_IMPLICIT, _EXPLICIT)
    return whole_bytes and plain and samples in ((), (1.0,))


def _plain_pixels(file: DicomFile) -> bytes | None:
    """The value of PixelData, read without parsing the file again; None where that cannot be.

    References
    ----------
    DICOM PS3.5 7.1.2 and 7.1.3: tag, (VR and two reserved bytes,) length, value.
    """
    if not file.pixels_at or not _is_plain(file.header):
        return None
    start = 4 if transfer_syntax(file.header) == _IMPLICIT else 8
    with file.path.open("rb") as stream:
        stream.seek(file.pixels_at)
        element = stream.read(start + 4)
        length = element[start:]
        if element[:4] != _PIXEL_DATA or length == _UNDEFINED:
            return None
        left = max(file.path.stat().st_size - stream.tell(), 0)
        return stream.read(min(int.from_bytes(length, "little"), left))


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


def transfer_syntax(header: Dataset) -> Any:
    """Transfer syntax of the file; guessed from how it was parsed when it does not say."""
    from pydicom.uid import UID, ExplicitVRBigEndian

    stated = as_text(header.file_meta, "TransferSyntaxUID") if header.file_meta else ""
    if stated:
        return _uid(stated)
    implicit, little = header.original_encoding
    if little:
        return UID(_IMPLICIT if implicit else _EXPLICIT)
    return ExplicitVRBigEndian


@functools.lru_cache(maxsize=256)
def _uid(text: str) -> Any:
    """`text` as a UID; making one takes longer than all the rest of a header."""
    from pydicom.uid import UID

    return UID(text)


def check_promise(file: DicomFile) -> None:
    """Raise `ReadError` when a file's pixels cannot all be there, or nothing decodes them.

    Parameters
    ----------
    file : DicomFile
        Only its header and its size are looked at.

    Raises
    ------
    ReadError
        Code ``TRUNCATED`` or ``UNSUPPORTED``.
    """
    from pydicom.pixels.decoders.base import get_decoder

    with _faults_told(file.path):
        syntax = transfer_syntax(file.header)
        try:
            get_decoder(syntax)
        except NotImplementedError as error:
            raise ReadError(
                f"{file.path.name} is compressed in a way that is not supported"
                f" ({harmless(syntax)}); export it uncompressed",
                code="UNSUPPORTED",
            ) from error
        element = 8 if syntax == _IMPLICIT else 12  # bytes of tag, type and length
        there, expected = file.size - file.pixels_at - element, expected_bytes(file.header)
        if file.pixels_at and _is_plain(file.header) and there < expected:
            raise _truncated(file.path, f"{max(there, 0)} of {expected} bytes of pixels are there")


def expected_bytes(header: Dataset) -> int:
    """Bytes of all the frames that a header promises, uncompressed."""
    keys = (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("NumberOfFrames", 1))
    bits = int(header.BitsAllocated)
    for key, default in keys:
        numbers = as_numbers(header, key, 1)
        bits *= int(numbers[0]) if numbers else default
    return bits // 8


def _check_length(source: Encoded, path: Path) -> None:
    """Raise `ReadError` when pixels are missing, or fewer than an uncompressed header says."""
    if not source.pixels:
        raise _truncated(path, "it holds no pixels")
    if transfer_syntax(source.header).is_encapsulated:
        return
    stored, expected = len(source.pixels), expected_bytes(source.header)
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
        kind = error if isinstance(error, DecodingError) else type(error).__name__
        raise ReadError(
            f"the pixels of {path.name} cannot be decoded ({kind}); the file is"
            " damaged or its compression is not supported, export it uncompressed",
            code="UNDECODABLE",
        ) from error
