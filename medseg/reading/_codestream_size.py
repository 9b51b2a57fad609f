"""The size that compressed pixels themselves state, which the header must not contradict.

Decoders hand out rows times columns values and take the header's word for which is which, so a
header with the two exchanged would give sheared pixels without a word.
"""

from __future__ import annotations

import struct

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
_START_OF_SCAN = 0xDA
_JPEG_2000 = b"\xff\x4f\xff\x51"


def stated_size(fragment: bytes) -> tuple[int, int] | None:
    """Rows and columns written inside a JPEG, JPEG-LS or JPEG 2000 frame.

    Parameters
    ----------
    fragment : bytes
        One compressed frame.

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


def _jpeg_size(fragment: bytes) -> tuple[int, int] | None:
    """From the first frame header before the pixels."""
    at = 2
    while at + 9 <= len(fragment) and fragment[at] == 0xFF:
        marker = fragment[at + 1]
        if marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">2H", fragment, at + 5)
            return rows, columns
        if marker == _START_OF_SCAN:
            return None
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", fragment, at + 2)[0]
    return None
