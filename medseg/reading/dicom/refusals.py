"""Images that are not read because of what they are, and places that their headers do not give."""

from __future__ import annotations

from medseg.errors import GeometryError, InputError
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.header_values import as_numbers
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.nuclear import is_reconstructed
from medseg.reading.dicom.planar import is_2d, is_cine


def refusal_by_kind(frames: list[Frame]) -> InputError | None:
    """Why images of this kind are not read, if they are not."""
    file, name = frames[0].file, frames[0].file.path.name
    refusal = next((frame.refusal for frame in frames if frame.refusal), None)
    if refusal is not None:
        return refusal
    if _lacks_palette(file):
        return InputError(
            f"{name} is in the colours of a palette that it does not have; export it in grey",
            code="COLOUR",
        )
    if _is_screenshot(frames[0]):
        return InputError(
            f"{name} is a colour picture, not a scan; give a series of grey images",
            code="COLOUR",
        )
    located = any(frame.has_geometry for frame in frames)
    if is_reconstructed(file) and not located:
        return GeometryError(
            f"{name} is a reconstruction of nuclear medicine that does not say where its slices lie"
            " (ImagePositionPatient, ImageOrientationPatient, SpacingBetweenSlices, SliceVector);"
            " export it as single slices",
            code="NO_FUNCTIONAL_GROUPS",
        )
    if file.is_multiframe and not located and not is_cine(file):
        return GeometryError(
            f"{name} holds {file.count('NumberOfFrames', 1)} frames but does not say where each"
            " lies (no complete functional groups); export it as single slices",
            code="NO_FUNCTIONAL_GROUPS",
        )
    return None


def _lacks_palette(file: DicomFile) -> bool:
    descriptor = as_numbers(file.header, "RedPaletteColorLookupTableDescriptor", 3)
    return file.text("PhotometricInterpretation") == "PALETTE COLOR" and not descriptor


def _is_screenshot(frame: Frame) -> bool:
    """Whether it is in colour and neither lies in the patient nor is of a 2-D kind."""
    is_palette = frame.file.text("PhotometricInterpretation") == "PALETTE COLOR"
    coloured = frame.file.count("SamplesPerPixel", 1) > 1 or is_palette
    return coloured and not frame.has_geometry and not is_2d(frame)


def no_geometry(unlocated: list[Frame], others: int) -> GeometryError:
    """For frames without position, orientation or spacing, beside `others` that have them."""
    name = unlocated[0].file.path.name
    if unusable := next((fault for frame in unlocated for fault in frame.unusable), ""):
        return GeometryError(
            f"{name} says {unusable}, which cannot be used; export the series again",
            code="BAD_VALUE",
        )
    if others:
        return GeometryError(
            f"{name} has no complete position in the patient, {others} other slices of its series"
            " have; export the series again",
            code="INCOMPLETE_GEOMETRY",
        )
    return GeometryError(
        f"{name} has no position in the patient ({unlocated[0].absent} missing), so its voxels"
        " cannot be placed; give an image that has them",
        code="NO_GEOMETRY",
    )
