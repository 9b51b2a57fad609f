"""Frames: one slice each, whether it is a file of its own or part of a multi-frame file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.reading.dicom import mosaic, vframe
from medseg.reading.dicom.header_fields import MARKS
from medseg.reading.dicom.header_values import as_items, as_numbers, as_text, shown
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.nuclear import is_reconstructed, slice_positions

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
_PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
_PLACE_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
_PLACE_POINTERS = {0x0020_9056, 0x0020_9057, 0x0020_0032, 0x0020_0037, 0x0020_9113, 0x0020_9116}


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
    thickness_mm : float
        SliceThickness; 0 when not given.
    unusable : tuple of str
        Fields about its place that are there and cannot be used, each with its text.
    tile : tuple of int or None
        First row, first column, rows and columns of the stored image that are this frame, where
        that holds several.
    refusal : GeometryError or None
        Why it cannot be placed although it has a geometry.
    """

    file: DicomFile
    number: int
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    group_marks: Mapping[str, str] = field(default_factory=dict)
    rescale: tuple[float, float] | None = None
    thickness_mm: float = 0.0
    unusable: tuple[str, ...] = ()
    tile: tuple[int, int, int, int] | None = None
    refusal: GeometryError | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        if self.tile is not None:
            return self.tile[2:]
        return self.file.count("Rows"), self.file.count("Columns")

    def part_of(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Its own pixels (J, I) of the stored image that holds it."""
        if self.tile is None:
            return image
        top, left, rows, columns = self.tile
        return image[top : top + rows, left : left + columns]

    @property
    def absent(self) -> str:
        """Names of the fields that say where it lies and that it lacks."""
        values = (self.position_mm, self.orientation, self.pixel_spacing_mm)
        return ", ".join(key for key, value in zip(_PLACE, values, strict=True) if not value)

    @property
    def has_geometry(self) -> bool:
        """Whether position, orientation and spacing are all known."""
        return bool(self.position_mm and self.orientation and self.pixel_spacing_mm)

    @functools.cached_property
    def marks(self) -> Mapping[str, str]:
        """Fields that may tell this image from others at its position, by name."""
        own = {mark: text for mark in MARKS if (text := as_text(self.file.header, mark))}
        return {**self.group_marks, **own}


def frames_of(file: DicomFile) -> list[Frame]:
    """The frames of a file, in their order in it.

    Parameters
    ----------
    file : DicomFile
        Single-frame, or multi-frame with functional groups. A multi-frame file without them
        gives one frame without geometry.
    """
    if not file.is_multiframe and (mosaic.is_mosaic(file) or vframe.is_vframe(file)):
        return _tiled_frames(file)
    if is_reconstructed(file) and "PerFrameFunctionalGroupsSequence" not in file.header:
        return _reconstructed_frames(file)
    if not file.is_multiframe:
        return [_plain_frame(file)]
    groups = as_items(file.header, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(as_items(file.header, "SharedFunctionalGroupsSequence")), None)
    if len(groups) != file.count("NumberOfFrames", 1):
        return [Frame(file, 0, (), (), ())]
    return [
        _grouped_frame(file, number, per_frame, shared) for number, per_frame in enumerate(groups)
    ]


def _tiled_frames(file: DicomFile) -> list[Frame]:
    """The slices of a mosaic; one frame with the reason when they cannot be placed."""
    whole = _plain_frame(file)
    try:
        tiled = mosaic.tiles_of(file) if mosaic.is_mosaic(file) else vframe.tiles_of(file)
    except GeometryError as error:
        return [replace(whole, refusal=error)]
    return [
        replace(whole, position_mm=position, tile=tile)
        for position, tile in zip(tiled.positions_mm, tiled.tiles, strict=True)
    ]


def _reconstructed_frames(file: DicomFile) -> list[Frame]:
    """The slices of a reconstruction of nuclear medicine; one without geometry if not placed."""
    positions, orientation, marks = slice_positions(file)
    if not positions:
        return [_plain_frame(file)]
    spacing = as_numbers(file.header, "PixelSpacing", 2)
    thickness = _thickness(file.header)
    return [
        Frame(file, n, position, orientation, spacing, marks[n], thickness_mm=thickness)
        for n, position in enumerate(positions)
    ]


def _plain_frame(file: DicomFile) -> Frame:
    header = file.header
    values = [as_numbers(header, key, count) for key, count in _PLACE.items()]
    unusable = [
        f"{key} {shown(header, key)}"
        for key, value in zip(_PLACE, values, strict=True)
        if not value and shown(header, key)
    ]
    position, orientation, spacing = values
    return Frame(
        file,
        0,
        position,
        orientation,
        spacing,
        thickness_mm=_thickness(header),
        unusable=tuple(unusable),
    )


def _thickness(dataset: Dataset | None) -> float:
    """SliceThickness in mm; 0 when not given."""
    numbers = as_numbers(dataset, "SliceThickness", 1) if dataset is not None else ()
    return max(numbers[0], 0.0) if numbers else 0.0


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
    marks |= _dimensions(file, item("FrameContentSequence"))
    return Frame(
        file,
        number,
        numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        numbers("PixelMeasuresSequence", "PixelSpacing", 2),
        marks,
        (slope[0], intercept[0]) if slope and intercept else None,
        thickness_mm=_thickness(item("PixelMeasuresSequence")) or _thickness(file.header),
        unusable=_unusable(item),
    )


def _unusable(item: Callable[[str], Dataset | None]) -> tuple[str, ...]:
    """Fields of place in functional groups that cannot be used, with their texts."""
    faults = []
    for (key, count), group in zip(_PLACE.items(), _PLACE_GROUPS, strict=True):
        dataset = item(group)
        text = shown(dataset, key) if dataset is not None else ""
        if dataset is not None and text and not as_numbers(dataset, key, count):
            faults.append(f"{key} {text}")
    return tuple(faults)


def _dimensions(file: DicomFile, content: Dataset | None) -> dict[str, str]:
    """DimensionIndexValues by what they point to, without those of the place in the stack.

    References
    ----------
    DICOM PS3.3 C.7.6.17 (multi-frame dimension).
    """
    pointers = [
        int(numbers[0]) if (numbers := as_numbers(item, "DimensionIndexPointer", 1)) else 0
        for item in as_items(file.header, "DimensionIndexSequence")
    ]
    values = as_numbers(content, "DimensionIndexValues") if content is not None else ()
    if len(values) != len(pointers):
        return {}
    others = {
        f"dimension ({pointer >> 16:04X}-{pointer & 0xFFFF:04X})": f"{value:g}"
        for pointer, value in zip(pointers, values, strict=True)
        if pointer not in _PLACE_POINTERS
    }
    return {**others, "DimensionIndexValues": "\\".join(others.values())} if others else {}


def _item_finder(per_frame: Dataset, shared: Dataset | None) -> Callable[[str], Dataset | None]:
    """Look-up of a functional group's only item; a frame's own group wins over a shared one."""

    def item(group: str) -> Dataset | None:
        for groups in (per_frame, shared):
            items = as_items(groups, group) if groups is not None else ()
            if items:
                return items[0]
        return None

    return item
