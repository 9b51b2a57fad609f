"""Frames: one slice each, whether it is a file of its own or part of a multi-frame file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medseg.reading.dicom.headers import MARKS, DicomFile, as_items, as_numbers, as_text

if TYPE_CHECKING:
    from pydicom import Dataset

_GROUP_MARKS = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("CTReconstructionSequence", "ConvolutionKernel"),
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice: where it lies and what may tell it from others at the same place.

    Parameters
    ----------
    file : DicomFile
        The file that holds it.
    number : int
        From 0, within the file.
    position_mm : tuple of float
        ImagePositionPatient, LPS+ mm; empty when not given.
    orientation : tuple of float
        ImageOrientationPatient; empty when not given.
    pixel_spacing_mm : tuple of float
        PixelSpacing: between rows, between columns; empty when not given.
    group_marks : mapping of str to str
        Fields of functional groups that may differ between frames at one position.
    rescale : tuple of float or None
        Slope and intercept of a functional group; None leaves it to the file's Modality LUT.
    """

    file: DicomFile
    number: int
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    group_marks: Mapping[str, str] = field(default_factory=dict)
    rescale: tuple[float, float] | None = None

    @property
    def has_geometry(self) -> bool:
        """Whether position, orientation and spacing are all known."""
        return bool(self.position_mm and self.orientation and self.pixel_spacing_mm)

    @functools.cached_property
    def marks(self) -> Mapping[str, str]:
        """Fields that may tell this image from others at its position, by name."""
        if self.group_marks:
            return self.group_marks
        return {mark: as_text(self.file.header, mark) for mark in MARKS}


def frames_of(file: DicomFile) -> list[Frame]:
    """The frames of a file, in their order in it.

    Parameters
    ----------
    file : DicomFile
        Single-frame, or multi-frame with functional groups. A multi-frame file without them
        gives one frame without geometry.
    """
    if not file.is_multiframe:
        return [_plain_frame(file)]
    groups = as_items(file.header, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(as_items(file.header, "SharedFunctionalGroupsSequence")), None)
    if len(groups) != file.count("NumberOfFrames", 1):
        return [Frame(file, 0, (), (), ())]
    return [
        _grouped_frame(file, number, per_frame, shared) for number, per_frame in enumerate(groups)
    ]


def _plain_frame(file: DicomFile) -> Frame:
    header = file.header
    return Frame(
        file,
        0,
        as_numbers(header, "ImagePositionPatient", 3),
        as_numbers(header, "ImageOrientationPatient", 6),
        as_numbers(header, "PixelSpacing", 2),
    )


def _grouped_frame(
    file: DicomFile, number: int, per_frame: Dataset, shared: Dataset | None
) -> Frame:
    """A frame from its own functional groups, else the shared ones."""
    item = _item_finder(per_frame, shared)

    def numbers(group: str, keyword: str, count: int) -> tuple[float, ...]:
        group_item = item(group)
        return as_numbers(group_item, keyword, count) if group_item is not None else ()

    slope = numbers("PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = numbers("PixelValueTransformationSequence", "RescaleIntercept", 1)
    marks = {
        f"{group}.{keyword}": as_text(group_item, keyword)
        for group, keyword in _GROUP_MARKS
        if (group_item := item(group)) is not None
    }
    return Frame(
        file,
        number,
        numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        numbers("PixelMeasuresSequence", "PixelSpacing", 2),
        marks,
        (slope[0], intercept[0]) if slope and intercept else None,
    )


def _item_finder(per_frame: Dataset, shared: Dataset | None) -> Callable[[str], Dataset | None]:
    """Look-up of a functional group's only item; a frame's own group wins over a shared one."""

    def item(group: str) -> Dataset | None:
        for groups in (per_frame, shared):
            items = as_items(groups, group) if groups is not None else ()
            if items:
                return items[0]
        return None

    return item
