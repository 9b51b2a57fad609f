"""Whether the frames of a segmentation are one volume: two points of time are no union."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medseg.errors import LabelError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.headers import as_items, as_text

if TYPE_CHECKING:
    from pydicom import Dataset

_PER_FRAME = "PerFrameFunctionalGroupsSequence"
_TIMES = (
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
)
_OF_PLACE = (
    "ImagePositionPatient",
    "ImagePositionVolume",
    "ImageOrientationPatient",
    "InStackPositionNumber",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ReferencedSegmentNumber",
)


def check_one_volume(frames: Sequence[Frame], places: Sequence[tuple[int, int]]) -> None:
    """Refuse frames that are several label maps.

    Parameters
    ----------
    frames : sequence of Frame
        Of one file.
    places : sequence of (int, int)
        Segment and slice of each.

    Raises
    ------
    LabelError
        Code ``SEVERAL_VOLUMES``, when frames lie at several points of time, or when anything tells
        two frames of one segment on one slice apart.

    References
    ----------
    DICOM PS3.3 C.7.6.17 (dimensions).
    """
    groups = [as_items(frame.file.header, _PER_FRAME)[frame.number] for frame in frames]
    for sequence, keyword in _TIMES:
        items = (item for group in groups for item in as_items(group, sequence))
        times = sorted({as_text(item, keyword) for item in items} - {""})
        if len(times) > 1:
            raise _several(f"{keyword} ({', '.join(times[:5])})")
    first: dict[tuple[int, int], int] = {}
    for index, where in enumerate(places):
        earlier = first.setdefault(where, index)
        if earlier == index:
            continue
        header = frames[index].file.header
        apart = set(_facts(header, groups[earlier])) ^ set(_facts(header, groups[index]))
        if apart:
            raise _several(min(keyword for keyword, _ in apart))


def _several(what: str) -> LabelError:
    return LabelError(
        f"its frames differ in {what}: it holds several label maps, such as of several points of"
        " time; export one of them, or take segments of one with --segments",
        code="SEVERAL_VOLUMES",
    )


def _facts(header: Dataset, group: Dataset) -> Iterator[tuple[str, str]]:
    """Every field of a frame's functional groups but its segment and place, with its value."""
    for element in group.iterall():
        keyword = element.keyword or str(element.tag)
        if keyword == "DimensionIndexValues":
            yield from _dimensions(header, element.value)
        elif element.VR != "SQ" and keyword not in _OF_PLACE:
            yield keyword, str(element.value)


def _dimensions(header: Dataset, values: int | Sequence[int]) -> Iterator[tuple[str, str]]:
    """The dimensions of a frame but its segment and place; by number where not described."""
    from pydicom.datadict import keyword_for_tag

    described = as_items(header, "DimensionIndexSequence")
    for row, value in enumerate([values] if isinstance(values, int) else values):
        tag = described[row].get("DimensionIndexPointer") if row < len(described) else None
        name = (keyword_for_tag(tag) if tag else "") or f"dimension {row + 1}"
        if name not in _OF_PLACE:
            yield name, str(value)
