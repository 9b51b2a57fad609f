"""Copies of one image in a folder: kept once when equal, an error when they differ."""

from __future__ import annotations

import numpy as np

from medseg.errors import GeometryError, ReadError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.pixels import read_voxels
from medseg.runtime.progress import silent


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
    first: dict[tuple[str, int], Frame] = {}
    unique, copies = [], 0
    for frame in frames:
        key = (frame.file.instance_uid, frame.number)
        original = first.setdefault(key, frame) if key[0] else frame
        if original is frame:
            unique.append(frame)
        elif original.position_mm == frame.position_mm and _same_pixels(original, frame):
            copies += 1
        else:
            raise GeometryError(
                f"{original.file.path.name} and {frame.file.path.name} have the same SOPInstanceUID"
                " but differ; remove the wrong one",
                code="DUPLICATE_UID",
            )
    return unique, [f"{copies} copies of slices were left out"] if copies else []


def _same_pixels(first: Frame, second: Frame) -> bool:
    """Whether two frames hold the same values, however they are compressed."""
    try:
        if first.file.path.read_bytes() == second.file.path.read_bytes():
            return True
        values = [read_voxels([frame], progress=silent)[0] for frame in (first, second)]
    except (ReadError, OSError):
        return False
    return np.array_equal(values[0], values[1])
