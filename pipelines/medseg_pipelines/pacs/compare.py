"""Whether an object that a peer gives back is the one that was sent."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.headers import as_text
from medseg_pipelines.pacs.validate import content_of

_NAMES = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
_SUBSTANCE = (
    "PixelData",
    "SegmentationType",
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "ContentSequence",
    "ROIContourSequence",
    "StructureSetROISequence",
)


def same_object(sent: Path, back: Path) -> bool:
    """Whether two files hold one result; other fields may have been edited by the archive."""
    if content_of(sent) == content_of(back) != "":
        return True
    one, other = _opened(sent), _opened(back)
    if one is None or other is None:
        return False
    if any(as_text(one, name) != as_text(other, name) for name in _NAMES):
        return False
    if one.file_meta.TransferSyntaxUID != other.file_meta.TransferSyntaxUID:
        _decode(one)
        _decode(other)
    return all(one.get(word) == other.get(word) for word in _SUBSTANCE)


def _opened(path: Path) -> Any:
    """The whole object; None when it cannot be read."""
    from pydicom.errors import InvalidDicomError

    try:
        return dataset_of(path)
    except (OSError, InvalidDicomError, ValueError, EOFError):
        return None


def _decode(dataset: Any) -> None:
    """Decode the pixels, as far as they can be."""
    if "PixelData" in dataset and dataset.file_meta.TransferSyntaxUID.is_compressed:
        with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
            dataset.decompress(generate_instance_uid=False)
