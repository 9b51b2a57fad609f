"""The element that holds a file's pixels: by its own bytes, not by what the header claims of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.reading.dicom.header_values import as_numbers, as_text

if TYPE_CHECKING:
    from pydicom import Dataset

HEAD_BYTES = 12
_TAGS = {
    b"\xe0\x7f\x10\x00": "PixelData",
    b"\xe0\x7f\x08\x00": "FloatPixelData",
    b"\xe0\x7f\x09\x00": "DoubleFloatPixelData",
}
_TYPES = (b"OB", b"OW", b"OF", b"OD", b"UN", b"OV")
_UNDEFINED = b"\xff\xff\xff\xff"
_COUNTS = {"Rows": 0, "Columns": 0, "SamplesPerPixel": 1, "NumberOfFrames": 1}
FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


@dataclass(frozen=True)
class PixelElement:
    """Tag, length and place of the pixels of a little-endian file.

    Parameters
    ----------
    keyword : str
        ``"PixelData"``, ``"FloatPixelData"`` or ``"DoubleFloatPixelData"``; empty when the bytes
        are none of these, as in big-endian and deflated files.
    head_bytes : int
        Of tag, type and length.
    length : int or None
        Bytes of the value; None when undefined, as that of compressed pixels is.
    """

    keyword: str = ""
    head_bytes: int = HEAD_BYTES
    length: int | None = None

    @classmethod
    def of(cls, head: bytes) -> PixelElement:
        """Parsed from its first 12 bytes.

        References
        ----------
        DICOM PS3.5 7.1.2 and 7.1.3: tag, (type and two reserved bytes,) length. Lengths are even,
        and those that look like a type are odd, so that the two cannot be taken for each other.
        """
        explicit = head[4:6] in _TYPES and head[6:8] == b"\0\0"
        size = 12 if explicit else 8
        length = head[size - 4 : size]
        known = len(length) == 4 and length != _UNDEFINED
        number = int.from_bytes(length, "little") if known else None
        return cls(_TAGS.get(head[:4], ""), size, number)

    @property
    def is_explicit(self) -> bool:
        """Whether it states its type."""
        return self.head_bytes == HEAD_BYTES

    def transfer_syntax(self, stated: Any) -> Any:
        """How the pixels are encoded, where that is not what is stated; else `stated`."""
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

        native = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        if not self.keyword or self.length is None:
            return stated
        if stated.is_encapsulated or stated in native:
            return native[self.is_explicit]
        return stated

    def contradicts(self, syntax: Any) -> bool:
        """Whether the pixels are compressed and `syntax` says that they are not."""
        return bool(self.keyword) and self.length is None and not syntax.is_encapsulated


def complete(header: Dataset, element: PixelElement) -> tuple[str, ...]:
    """Fill in fields of the pixels that are missing or unusable and can have one value only.

    Returns
    -------
    tuple of str
        The names of those that were filled in; what they are of is for the reader to tell.
    """
    filled = []
    is_float = element.keyword in FLOAT_BITS
    if not as_numbers(header, "BitsAllocated", 1) and (bits := _bits_of(header, element)):
        header.BitsAllocated = bits
        filled.append("BitsAllocated")
    allocated = as_numbers(header, "BitsAllocated", 1)
    if not allocated or is_float:
        return tuple(filled)
    if not as_numbers(header, "BitsStored", 1):
        high = as_numbers(header, "HighBit", 1)
        header.BitsStored = int(high[0]) + 1 if high else int(allocated[0])
        filled.append("BitsStored")
    if not as_text(header, "PixelRepresentation"):
        header.PixelRepresentation = 0
        filled.append("PixelRepresentation")
    return tuple(filled)


def _bits_of(header: Dataset, element: PixelElement) -> int:
    """Bits of a value by the bytes that are there; 0 when that is not clear."""
    if element.keyword in FLOAT_BITS:
        return FLOAT_BITS[element.keyword]
    count = 1
    for keyword, default in _COUNTS.items():
        count *= int((as_numbers(header, keyword, 1) or (default,))[0])
    by_length = {count * bits // 8 + count * bits // 8 % 2: bits for bits in (8, 16, 32)}
    return by_length.get(element.length or 0, 0)
