"""Projections, cines and other 2-D images: a plane of their own, and what their spacing is worth.

They have no place in the patient. A frame is given a plane through the origin, so that the rest of
the reader treats it as a stack of one; the notes say what of it is real.
"""

from __future__ import annotations

from dataclasses import replace

from medseg.reading.dicom.frames import Frame, frames_of
from medseg.reading.dicom.header_values import as_items, as_numbers
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.nuclear import is_reconstructed

_FLAT = {"CR", "DX", "MG", "IO", "PX", "RG", "RF", "XA", "US", "ES", "XC", "OP", "GM", "SM", "DG"}
_FLAT |= {"NM", "RTIMAGE"}
_CINES = {"US", "XA", "RF", "ES", "XC", "OP", "NM"}
_FRAMES_FOLLOW_BY = {  # FrameTime, FrameTimeVector; angles and table of an X-ray system that moves
    0x0018_1063,
    0x0018_1065,
    0x0018_1520,
    0x0018_1521,
    0x0018_1135,
    0x0018_1136,
    0x0018_1137,
    *range(0x0054_0010, 0x0054_0101, 0x10),  # vectors of nuclear medicine
}
_MOST_FRAMES = 20_000
_PLANE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_CENTIMETRES = 3.0
_TWO_D = 1.0
_NO_POSITION = "a 2-D image without a place in the patient: left and right are not known"


def is_2d(frame: Frame) -> bool:
    """Whether a frame without geometry is of a kind that never has any."""
    file = frame.file
    single = file.count("NumberOfFrames", 1) == 1 and not is_reconstructed(file)
    return file.modality in _FLAT and (single or is_cine(file))


def is_cine(file: DicomFile) -> bool:
    """Whether a file holds 2-D images without a place in the patient that follow each other.

    Objects with functional groups (volumes, tiles of a slide) do not, and neither do frames that
    a FrameIncrementPointer tells apart by anything but time or the X-ray system's movement.

    References
    ----------
    DICOM PS3.3 C.7.6.6 (multi-frame), C.7.6.5 (cine), C.8.7.5 (XA positioner).
    """
    volume = "PerFrameFunctionalGroupsSequence" in file.header or is_reconstructed(file)
    frames = file.count("NumberOfFrames", 1)
    if volume or file.modality not in _CINES or not 1 < frames <= _MOST_FRAMES:
        return False
    return _FRAMES_FOLLOW_BY.issuperset(as_numbers(file.header, "FrameIncrementPointer"))


def lacks_position(frame: Frame) -> bool:
    """Whether the position of a frame was made up by `as_plane`."""
    return is_2d(frame) and not frames_of(frame.file)[0].has_geometry


def as_plane(frame: Frame) -> tuple[Frame, bool, list[str]]:
    """The frame in a plane through the origin, and what its spacing is worth.

    Parameters
    ----------
    frame : Frame
        Without geometry, of a kind for which `is_2d` holds.

    References
    ----------
    DICOM PS3.3 10.7.1.3 (pixel spacing calibration), C.8.5.5 (ultrasound regions).
    """
    spacing, note = _spacing(frame)
    plane_frame = replace(
        frame,
        position_mm=(0.0, 0.0, 0.0),
        orientation=_PLANE,
        pixel_spacing_mm=spacing or (1.0, 1.0),
        thickness_mm=0.0,
    )
    return plane_frame, bool(spacing), [_NO_POSITION, note]


def _spacing(frame: Frame) -> tuple[tuple[float, ...], str]:
    """Spacing between rows and columns in mm, empty when unknown, and what it is."""
    header = frame.file.header
    at_detector = _positive(as_numbers(header, "ImagerPixelSpacing", 2))
    stated = _positive(as_numbers(header, "PixelSpacing", 2))
    if stated and (frame.file.text("PixelSpacingCalibrationType") or stated != at_detector):
        return stated, "PixelSpacing is calibrated: lengths are in the plane it was measured in"
    if stated or at_detector:
        return stated or at_detector, (
            "uncalibrated: spacing is that of the detector (ImagerPixelSpacing), things in the"
            " patient are smaller than they measure"
        )
    at_image_plane = _positive(as_numbers(header, "ImagePlanePixelSpacing", 2))
    if at_image_plane:
        return at_image_plane, (
            "spacing is that of the image plane (ImagePlanePixelSpacing), things in the patient are"
            " smaller than they measure"
        )
    by_region = _of_ultrasound(frame)
    if by_region:
        return by_region, f"spacing is that of its only ultrasound region{_extent(frame)}"
    return (), "PIXELS_ONLY: spacing is unknown, a pixel counts as 1 mm and is not"


def _of_ultrasound(frame: Frame) -> tuple[float, ...]:
    """Spacing in mm of the one region that an ultrasound image has; empty otherwise."""
    regions = as_items(frame.file.header, "SequenceOfUltrasoundRegions")
    if len(regions) != 1:
        return ()
    unit = [as_numbers(regions[0], f"PhysicalUnits{axis}Direction", 1) for axis in "YX"]
    delta = [as_numbers(regions[0], f"PhysicalDelta{axis}", 1) for axis in "YX"]
    kind = as_numbers(regions[0], "RegionSpatialFormat", 1) or (_TWO_D,)
    if unit != [(_CENTIMETRES,)] * 2 or kind != (_TWO_D,) or not all(delta):
        return ()
    return _positive(tuple(abs(values[0]) * 10 for values in delta))


def _extent(frame: Frame) -> str:
    """Where the only ultrasound region lies, when it is not the whole image."""
    file = frame.file
    (region,) = as_items(file.header, "SequenceOfUltrasoundRegions")
    corners = [
        as_numbers(region, f"RegionLocation{corner}", 1)
        for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")
    ]
    if not all(corners):
        return ""
    left, top, right, bottom = (int(corner[0]) for corner in corners)
    beyond = right >= file.count("Columns") - 1 and bottom >= file.count("Rows") - 1
    if left <= 0 and top <= 0 and beyond:
        return ""
    return f" (columns {left} to {right}, rows {top} to {bottom}, from 0) and holds there only"


def _positive(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return numbers if numbers and min(numbers) > 0 else ()
