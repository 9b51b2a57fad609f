"""The element that holds a file's pixels: by its own bytes, not by what the header claims of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from medseg.reading.dicom.codestream import START_BYTES, possible_syntaxes
from medseg.reading.dicom.header_values import as_text, as_whole, put_whole, settle_whole

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
_ITEM = b"\xfe\xff\x00\xe0"
_COUNTS = {"Rows": 0, "Columns": 0, "SamplesPerPixel": 1, "NumberOfFrames": 1}
_FILLED = ("BitsAllocated", "BitsStored", "PixelRepresentation")
WHOLE_NUMBERS = (*_COUNTS, *_FILLED, "HighBit", "PlanarConfiguration")
"""Fields of one whole number that say what the pixels are."""

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
    codecs : tuple of str
        Transfer syntaxes that the first compressed frame can be of; see
        :func:`medseg.reading.dicom.codestream.possible_syntaxes`.
    """

    keyword: str = ""
    head_bytes: int = HEAD_BYTES
    length: int | None = None
    codecs: tuple[str, ...] = ()

    @classmethod
    def read(cls, file: BinaryIO) -> PixelElement:
        """Parsed from where a file is at.

        References
        ----------
        DICOM PS3.5 A.4: of compressed pixels the first item is a table of offsets, the second the
        first frame or a part of it.
        """
        start = file.tell()
        element = cls.of(file.read(HEAD_BYTES))
        file.seek(start + element.head_bytes)
        table = file.read(8) if element.keyword else b""
        if table[:4] != _ITEM:
            return element
        file.seek(int.from_bytes(table[4:], "little"), 1)
        frame = file.read(8)
        size = min(int.from_bytes(frame[4:], "little"), START_BYTES)
        codecs = possible_syntaxes(file.read(size)) if frame[:4] == _ITEM else ()
        return replace(element, codecs=codecs)

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
        is_defined = len(length) == 4 and length != _UNDEFINED
        number = int.from_bytes(length, "little") if is_defined else None
        return cls(_TAGS.get(head[:4], ""), size, number)

    @property
    def is_explicit(self) -> bool:
        """Whether it states its type."""
        return self.head_bytes == HEAD_BYTES

    def transfer_syntax(self, stated: Any) -> Any:
        """How the pixels are encoded, where that is not what is stated; else `stated`."""
        from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

        if self.codecs and self.length is None and stated not in self.codecs:
            return UID(self.codecs[0])
        native = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        if not self.keyword or self.length is None or not stated.is_transfer_syntax:
            return stated
        if stated.is_encapsulated or stated in native:
            return native[self.is_explicit]
        return stated

    def contradicts(self, syntax: Any) -> bool:
        """Whether the pixels are compressed and `syntax`, or their length, says they are not."""
        if self.length is None:
            return bool(self.keyword) and not syntax.is_encapsulated
        return bool(self.codecs)


def complete(header: Dataset, element: PixelElement) -> tuple[str, ...]:
    """Make the whole numbers about the pixels such, and fill in those that can have one value only.

    Returns
    -------
    tuple of str
        The names of those that were missing or unusable and filled in.
    """
    for keyword in WHOLE_NUMBERS:
        settle_whole(header, keyword)
    before = [as_whole(header, keyword) for keyword in _FILLED]
    allocated = as_whole(header, "BitsAllocated")
    if element.keyword in FLOAT_BITS:
        allocated = FLOAT_BITS[element.keyword]
    elif allocated is None:
        allocated = _bits_of(header, element)
    if allocated:
        put_whole(header, "BitsAllocated", allocated)
    if allocated and element.keyword not in FLOAT_BITS:
        _fill_bits(header, allocated)
    return tuple(
        keyword
        for keyword, number in zip(_FILLED, before, strict=True)
        if as_whole(header, keyword) != number
    )


def _fill_bits(header: Dataset, allocated: int) -> None:
    """Set BitsStored (by HighBit where it can be) and PixelRepresentation where there is none."""
    high = as_whole(header, "HighBit")
    if high is None or not 0 <= high < allocated:
        high = allocated - 1
    stored = as_whole(header, "BitsStored")
    if stored is None or stored < 1:
        put_whole(header, "BitsStored", high + 1)
    if not as_text(header, "PixelRepresentation"):
        put_whole(header, "PixelRepresentation", 0)


def _bits_of(header: Dataset, element: PixelElement) -> int:
    """Bits of a value by the bytes that are there; 0 when that is not clear."""
    count = 1
    for keyword, default in _COUNTS.items():
        number = as_whole(header, keyword)
        count *= default if number is None else number
    by_length = {count * bits // 8 + count * bits // 8 % 2: bits for bits in (8, 16, 32)}
    return by_length.get(element.length or 0, 0)
