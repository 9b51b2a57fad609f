"""What compressed pixels themselves state: their size, and how far they are from what was encoded.

Decoders hand out rows times columns values and take the header's word for which is which, so a
header with the two exchanged would give sheared pixels without a word.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
_START_OF_SCAN = 0xDA
_START_OF_JPEG_LS = 0xF7
_JPEG_2000 = b"\xff\x4f\xff\x51"
_JP2_BOX = b"\0\0\0\x0cjP  "
_RLE_HEADER = 64
_MOST_RLE_SEGMENTS = 15
START_BYTES = 4096
"""Of a fragment, which hold the header of its frame."""

_FAMILIES = {
    "JPEG": ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"),
    "extended JPEG": ("1.2.840.10008.1.2.4.51",),
    "lossless JPEG": ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"),
    "JPEG-LS": ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.80"),
    "JPEG 2000": (
        *(f"1.2.840.10008.1.2.4.{n}" for n in (91, 90, 92, 93)),
        *(f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203)),
    ),
    "RLE": ("1.2.840.10008.1.2.5",),
}
"""Transfer syntaxes of which a frame may be, that which covers the others first."""

_FAMILY_OF_FRAME = {0xC0: "JPEG", 0xC1: "extended JPEG", 0xC3: "lossless JPEG", 0xF7: "JPEG-LS"}


def stated_size(fragment: bytes) -> tuple[int, int] | None:
    """Rows and columns written inside a JPEG, JPEG-LS or JPEG 2000 frame.

    Returns
    -------
    tuple of int or None
        None where none is stated, as in RLE.

    References
    ----------
    ITU-T T.81, B.2.2 (frame header); T.87, C.1.1 (SOF55); T.800, A.5.1 (SIZ).
    """
    if fragment[:2] == b"\xff\xd8":
        return _jpeg_size(fragment)
    start = fragment[:512].find(_JPEG_2000)
    if start < 0 or len(fragment) < start + 24:
        return None
    columns, rows, left, top = struct.unpack_from(">4I", fragment, start + 8)
    return rows - top, columns - left


def stated_bits(fragment: bytes) -> int:
    """Bits of a value written inside a JPEG or JPEG-LS frame; 0 where none are.

    References
    ----------
    ITU-T T.81, B.2.2 (frame header: precision).
    """
    starts = (at for marker, at in _segments(fragment) if marker in _START_OF_FRAME)
    return next((fragment[at + 4] for at in starts), 0)


def possible_syntaxes(fragment: bytes) -> tuple[str, ...]:
    """Transfer syntaxes that the first bytes of a compressed frame can be of, the widest first.

    Returns
    -------
    tuple of str
        UIDs; none where the bytes are no frame that is known here.

    References
    ----------
    ITU-T T.81, B.1.1.3 (start of frame); T.87, C.1.1; T.800, A.4.1; DICOM PS3.5 G.5 (RLE header).
    """
    if fragment[:2] == b"\xff\xd8":
        markers = (marker for marker, _ in _segments(fragment) if marker in _START_OF_FRAME)
        family = _FAMILY_OF_FRAME.get(next(markers, 0), "")
    elif fragment.startswith((_JPEG_2000, _JP2_BOX)):
        family = "JPEG 2000"
    elif len(fragment) >= _RLE_HEADER:
        segments, first = struct.unpack_from("<2I", fragment)
        is_rle = 1 <= segments <= _MOST_RLE_SEGMENTS and first == _RLE_HEADER
        family = "RLE" if is_rle else ""
    else:
        family = ""
    return _FAMILIES.get(family, ())


def near_lossless(fragment: bytes) -> tuple[int, int] | None:
    """Precision and NEAR of a JPEG-LS frame: by how much values may differ from those encoded.

    Returns
    -------
    tuple of int or None
        Bits of a value, and the largest difference; None where the frame is no JPEG-LS or is cut
        short.

    References
    ----------
    ITU-T T.87, C.1.1 (SOF55) and C.2.3 (start of scan).
    """
    bits = 0
    for marker, at in _segments(fragment):
        if marker == _START_OF_JPEG_LS:
            bits = fragment[at + 4]
        near_at = at + 5 + 2 * fragment[at + 4]
        if marker == _START_OF_SCAN and bits and near_at < len(fragment):
            return bits, fragment[near_at]
    return None


def _jpeg_size(fragment: bytes) -> tuple[int, int] | None:
    """From the first frame header before the pixels."""
    for marker, at in _segments(fragment):
        if marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">2H", fragment, at + 5)
            return rows, columns
    return None


def _segments(fragment: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of every segment up to the first scan."""
    at = 2 if fragment[:2] == b"\xff\xd8" else len(fragment)
    while at + 9 <= len(fragment) and fragment[at] == 0xFF:
        marker = fragment[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        yield marker, at
        if marker == _START_OF_SCAN:
            return
        has_length = marker not in _WITHOUT_LENGTH
        at += 2 + (struct.unpack_from(">H", fragment, at + 2)[0] if has_length else 0)
