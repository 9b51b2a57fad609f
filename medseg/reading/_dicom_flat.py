"""Projections and other 2-D images: a plane of their own, and what their spacing is worth.

They have no place in the patient. A frame is given a plane through the origin, so that the rest of
the reader treats it as a stack of one; the notes say what of it is real.
"""

from __future__ import annotations

from dataclasses import replace

from medseg.reading._dicom_frames import Frame
from medseg.reading._dicom_headers import as_items, as_numbers

_FLAT = {"CR", "DX", "MG", "IO", "PX", "RG", "RF", "XA", "US", "ES", "XC", "OP", "GM", "SM", "DG"}
_PLANE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_CENTIMETRES = 3.0
_NO_PLACE = "a 2-D image without a place in the patient: left and right are not known"


def is_flat(frame: Frame) -> bool:
    """Whether a frame without geometry is of a kind that never has any."""
    file = frame.file
    return file.modality in _FLAT and file.count("NumberOfFrames", 1) == 1


def has_no_place(frame: Frame) -> bool:
    """Whether the position of a frame was made up by `in_own_plane`."""
    return is_flat(frame) and not as_numbers(frame.file.header, "ImagePositionPatient", 3)


def in_own_plane(frame: Frame) -> tuple[Frame, list[str]]:
    """The frame in a plane through the origin, and notes on what its spacing is worth.

    Parameters
    ----------
    frame : Frame
        Without geometry, of a kind for which `is_flat` holds.

    Returns
    -------
    frame : Frame
    notes : list of str

    References
    ----------
    DICOM PS3.3 10.7.1.3 (pixel spacing calibration), C.8.5.5 (ultrasound regions).
    """
    spacing, note = _spacing(frame)
    placed = replace(
        frame, position_mm=(0.0, 0.0, 0.0), orientation=_PLANE, pixel_spacing_mm=spacing
    )
    return placed, [_NO_PLACE, note]


def _spacing(frame: Frame) -> tuple[tuple[float, ...], str]:
    """Spacing between rows and columns in mm, and what it is."""
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
    by_region = _of_ultrasound(frame)
    if by_region:
        return by_region, "spacing is that of its only ultrasound region"
    return (1.0, 1.0), "PIXELS_ONLY: spacing is unknown, a pixel counts as 1 mm and is not"


def _of_ultrasound(frame: Frame) -> tuple[float, ...]:
    """Spacing in mm of the one region that an ultrasound image has; empty otherwise."""
    regions = as_items(frame.file.header, "SequenceOfUltrasoundRegions")
    if len(regions) != 1:
        return ()
    unit = [as_numbers(regions[0], f"PhysicalUnits{axis}Direction", 1) for axis in "YX"]
    delta = [as_numbers(regions[0], f"PhysicalDelta{axis}", 1) for axis in "YX"]
    if unit != [(_CENTIMETRES,)] * 2 or not all(delta):
        return ()
    return _positive(tuple(abs(one[0]) * 10 for one in delta))


def _positive(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return numbers if numbers and min(numbers) > 0 else ()
