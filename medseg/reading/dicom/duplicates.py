"""Copies of one image in a folder: kept once when equal, an error when they differ."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from medseg.errors import GeometryError, ReadError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.pixels import modality_values


def without_duplicates(frames: list[Frame]) -> tuple[list[Frame], list[str]]:
    """Frames with every SOPInstanceUID once, and a note on what was left out.

    Parameters
    ----------
    frames : list of Frame
        Of one stack or several at the same positions. Blank UIDs are never taken for copies.

    Raises
    ------
    GeometryError
        Code ``DUPLICATE_UID`` when two files have one SOPInstanceUID and differ.
    """
    first: dict[tuple[object, ...], Frame] = {}
    unique: list[Frame] = []
    pairs: list[tuple[Frame, Frame]] = []
    for frame in frames:
        key = (frame.file.text("SOPInstanceUID"), frame.number, frame.tile)
        original = first.setdefault(key, frame) if key[0] else frame
        if original is frame:
            unique.append(frame)
        elif original.position_mm == frame.position_mm:
            pairs.append((original, frame))
        else:
            raise _two_images(original, frame)
    _check_same_pixels([pair for pair in pairs if not _same_bytes(*pair)])
    return unique, [f"{len(pairs)} copies of slices were left out"] if pairs else []


def _two_images(original: Frame, frame: Frame) -> GeometryError:
    return GeometryError(
        f"{original.file.path.name} and {frame.file.path.name} have the same SOPInstanceUID but"
        " differ; remove the wrong one",
        code="DUPLICATE_UID",
    )


def _same_bytes(first: Frame, second: Frame) -> bool:
    """Whether two files are equal byte by byte."""
    if first.file.size != second.file.size:
        return False
    try:
        return first.file.path.read_bytes() == second.file.path.read_bytes()
    except OSError:
        return False


def _check_same_pixels(pairs: Sequence[tuple[Frame, Frame]]) -> None:
    """Raise `GeometryError` when two frames hold other values, however they are compressed.

    All are decoded by one crew of processes: starting one takes longer than decoding.
    """
    frames = [frame for pair in pairs for frame in pair]
    last = 0
    try:
        with closing(modality_values(frames)) as values:
            for pair in pairs:
                if not np.array_equal(next(values), next(values)):
                    raise _two_images(*pair)
                last += 1
    except ReadError as error:
        raise _two_images(*pairs[min(last, len(pairs) - 1)]) from error
