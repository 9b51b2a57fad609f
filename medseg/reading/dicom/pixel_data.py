"""Pixels of DICOM files as they are stored: found, checked to be all there, not yet decoded."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import ReadError
from medseg.reading.dicom.decoder_pool import DecodingError
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.header_fields import PIXEL_FIELDS
from medseg.reading.dicom.header_values import as_text, as_whole, sanitized, shown
from medseg.reading.dicom.headers import DicomFile, transfer_syntax
from medseg.reading.dicom.pixel_element import PixelElement, complete

if TYPE_CHECKING:
    from pydicom import Dataset

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_ITEM = b"\xfe\xff\x00\xe0"  # tag (FFFE,E000)
_END_OF_ITEMS = b"\xfe\xff\xdd\xe0\0\0\0\0"  # tag (FFFE,E0DD), no length
_NEEDED = ("BitsAllocated", "PixelRepresentation")
_BYTE = 8
_ALLOCATED = (1, *range(8, 65, 8))
_FLOAT_KINDS: dict[str, np.dtype[Any]] = {
    "FloatPixelData": np.dtype("<f4"),
    "DoubleFloatPixelData": np.dtype("<f8"),
}


@dataclass(frozen=True, eq=False)
class PixelData:
    """A file's header, its pixels as stored and how they are encoded."""

    header: Dataset
    pixels: bytes
    transfer_syntax: Any
    keyword: str = "PixelData"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of uncompressed little-endian values."""
        if self.keyword in _FLOAT_KINDS:
            return _FLOAT_KINDS[self.keyword]
        sign = "i" if self.header.PixelRepresentation else "u"
        return np.dtype(f"<{sign}{self.header.BitsAllocated // 8}")

    @functools.cached_property
    def fragments(self) -> list[bytes]:
        """Compressed bytes of each frame."""
        from pydicom.encaps import generate_frames

        count = as_whole(self.header, "NumberOfFrames")
        offsets = [
            self.header.get(key) for key in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
        ]
        table = (offsets[0], offsets[1]) if all(offsets) else None
        return list(
            generate_frames(
                self.pixels,
                number_of_frames=count or 1,
                extended_offsets=table,
            )
        )


def pixel_data_of(file: DicomFile) -> PixelData:
    """The pixels of a file, still encoded, checked to be all there.

    Parameters
    ----------
    file : DicomFile
        Its header is used again where the pixels can be found without parsing the file again.

    Raises
    ------
    ReadError
        Code ``TRUNCATED`` when pixels are missing, ``UNDECODABLE`` when the file is damaged.
    """
    with as_read_errors(file.path):
        _check_fields(file)
        pixels = _plain_pixels(file) or _pixels_in_items(file)
        keyword = file.element.keyword or "PixelData"
        if pixels:
            data = PixelData(file.header, pixels, file.transfer_syntax, keyword)
        else:
            data = _parsed_again(file)
        _check_length(data, file.path)
        return data


def _parsed_again(file: DicomFile) -> PixelData:
    """The pixels of a file that is deflated, big endian or whose items do not end properly."""
    kinds = ("PixelData", *_FLOAT_KINDS)
    dataset = dataset_of(file.path, force=True, specific_tags=[*PIXEL_FIELDS, *kinds])
    keyword = next((kind for kind in kinds if dataset.get(kind)), "PixelData")
    complete(dataset, PixelElement(keyword, length=len(dataset.get(keyword) or b"")))
    syntax = file.transfer_syntax if file.element.keyword else transfer_syntax(dataset)
    return PixelData(dataset, dataset.get(keyword) or b"", syntax, keyword)


def _check_fields(file: DicomFile) -> None:
    """Raise `ReadError` where the header cannot be what the pixels are."""
    if file.element.contradicts(file.transfer_syntax):
        raise ReadError(
            f"the pixels of {file.path.name} are compressed, while its header says that they are"
            f" not ({sanitized(file.transfer_syntax.name)}); export it again",
            code="TRANSFER_SYNTAX",
        )
    bits = file.count("BitsStored")
    plain_grey = file.count("SamplesPerPixel", 1) == 1 and not file.count("PixelRepresentation")
    if file.transfer_syntax == JPEG_EXTENDED and bits > _BYTE and not plain_grey:
        raise ReadError(
            f"{file.path.name} has signed values or colours of {bits} bits in JPEG Extended, which"
            " is not supported; export it uncompressed",
            code="UNSUPPORTED",
        )
    if not file.element.keyword:
        return
    for keyword, usable in _usable_fields(file):
        text = shown(file.header, keyword)
        number = as_whole(file.header, keyword)
        if (number is not None and number in usable) or (not text and keyword not in _NEEDED):
            continue
        stated = f"says {keyword} {text}, which cannot be" if text else f"has no {keyword}"
        raise ReadError(
            f"{file.path.name} {stated}: what its pixels are is not known; export it again",
            code="PIXEL_FIELDS",
        )


def _usable_fields(file: DicomFile) -> list[tuple[str, Container[int]]]:
    """Fields that say what the pixels are, and what they may be."""
    fields: list[tuple[str, Container[int]]] = [
        ("SamplesPerPixel", (1, 3, 4)),
        ("NumberOfFrames", range(1, 1 << 31)),
    ]
    if file.element.keyword in _FLOAT_KINDS:
        return fields
    return [("BitsAllocated", _ALLOCATED), ("PixelRepresentation", (0, 1)), *fields]


def is_plain(file: DicomFile | PixelData) -> bool:
    """Whether pixels lie in the file as little-endian grey values of whole bytes."""
    whole_bytes = as_whole(file.header, "BitsAllocated") in (8, 16, 32, 64)
    plain = file.transfer_syntax in (_IMPLICIT, _EXPLICIT)
    return whole_bytes and plain and as_whole(file.header, "SamplesPerPixel") in (None, 1)


def _plain_pixels(file: DicomFile) -> bytes | None:
    """The value of the pixels, read without parsing the file again; None where that cannot be."""
    element = file.element
    if not element.keyword or element.length is None or not is_plain(file):
        return None
    with file.path.open("rb") as stream:
        stream.seek(file.pixels_at + element.head_bytes)
        return stream.read(min(element.length, max(file.size - stream.tell(), 0)))


def _pixels_in_items(file: DicomFile) -> bytes | None:
    """The items of compressed PixelData, read without parsing the file again.

    None where that cannot be, such as when the items do not end as they should.

    References
    ----------
    DICOM PS3.5 A.4: items of a tag, a length and a value each, then a delimiter.
    """
    compressed = file.element.keyword and file.element.length is None
    if not compressed or not file.transfer_syntax.is_encapsulated:
        return None
    with file.path.open("rb") as stream:
        stream.seek(file.pixels_at + file.element.head_bytes)
        items = stream.read()
    at = 0
    while items[at : at + 4] == _ITEM:
        at += 8 + int.from_bytes(items[at + 4 : at + 8], "little")
    return items[:at] if items[at : at + 8] == _END_OF_ITEMS else None


def check_pixel_length(file: DicomFile) -> None:
    """Raise `ReadError` when a file's pixels cannot all be there, or nothing decodes them.

    Only its header and size are looked at; the code is ``TRUNCATED`` or ``UNSUPPORTED``.
    """
    from pydicom.pixels.decoders.base import get_decoder

    with as_read_errors(file.path):
        syntax = file.transfer_syntax
        try:
            get_decoder(syntax)
        except NotImplementedError as error:
            raise ReadError(
                f"{file.path.name} is compressed in a way that is not supported"
                f" ({sanitized(syntax)}); export it uncompressed",
                code="UNSUPPORTED",
            ) from error
        _check_fields(file)
        stored = file.size - file.pixels_at - file.element.head_bytes
        expected = expected_bytes(file.header)
        if file.pixels_at and is_plain(file) and stored < expected:
            raise _truncated(file.path, f"{max(stored, 0)} of {expected} bytes of pixels are there")


def has_more_pixels(file: DicomFile) -> bool:
    """Whether uncompressed pixels are longer than the header says, by more than padding."""
    length = file.element.length
    return length is not None and is_plain(file) and length > expected_bytes(file.header) + 1


def expected_bytes(header: Dataset) -> int:
    """Bytes of all the frames that a header promises, uncompressed.

    References
    ----------
    DICOM PS3.3 C.7.6.3.1.2: YBR_FULL_422 has one pair of chroma values for two pixels.
    """
    keys = (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("NumberOfFrames", 1))
    bits = int(header.BitsAllocated)
    for key, default in keys:
        number = as_whole(header, key)
        bits *= default if number is None else number
    halved = as_text(header, "PhotometricInterpretation") == "YBR_FULL_422"
    return bits // 8 // 3 * 2 if halved else bits // 8


def _check_length(source: PixelData, path: Path) -> None:
    """Raise `ReadError` when pixels are missing, or fewer than an uncompressed header says."""
    if not source.pixels:
        raise _truncated(path, "it holds no pixels")
    if source.transfer_syntax.is_encapsulated:
        return
    stored, expected = len(source.pixels), expected_bytes(source.header)
    if stored < expected:
        raise _truncated(path, f"{stored} of {expected} bytes of pixels are there")


def _truncated(path: Path, why: str) -> ReadError:
    return ReadError(f"{path.name} is truncated: {why}; copy or export it again", code="TRUNCATED")


@contextmanager
def as_read_errors(path: Path) -> Iterator[None]:
    """Turn what decoders raise into one `ReadError`; a file cut short gets a code of its own.

    Parameters
    ----------
    path : Path
        Of the file whose pixels are looked at.

    Raises
    ------
    ReadError
        Code ``TRUNCATED`` or ``UNDECODABLE``.
    """
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
