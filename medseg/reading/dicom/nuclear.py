"""Reconstructed slices of nuclear medicine: where each frame of the one file lies."""

from __future__ import annotations

import numpy as np

from medseg.reading.dicom.header_fields import NUCLEAR_VECTORS
from medseg.reading.dicom.header_values import as_items, as_numbers
from medseg.reading.dicom.headers import DicomFile


def is_reconstructed(file: DicomFile) -> bool:
    """Whether it is nuclear medicine whose frames are slices of a volume."""
    return file.modality in ("NM", "PT") and "RECON" in file.text("ImageType").upper()


def slice_positions(
    file: DicomFile,
) -> tuple[list[tuple[float, ...]], tuple[float, ...], list[dict[str, str]]]:
    """Where the frames of a reconstruction lie, and what tells them apart.

    Returns
    -------
    positions_mm : list of tuple of float
        One a frame, LPS+; empty when the file does not say.
    orientation : tuple of float
    marks : list of dict of str to str

    References
    ----------
    DICOM PS3.3 C.8.4.11 (detector) and C.8.4.15 (reconstruction): SpacingBetweenSlices is along the
    normal of the first frame; its sign is the direction in which slices are stacked.
    """
    header = file.header
    detector = next(iter(as_items(header, "DetectorInformationSequence")), header)
    first = as_numbers(detector, "ImagePositionPatient", 3)
    orientation = as_numbers(detector, "ImageOrientationPatient", 6)
    step_mm = as_numbers(header, "SpacingBetweenSlices", 1)
    count = file.count("NumberOfFrames", 1)
    levels = as_numbers(header, "SliceVector", count)
    if not levels and not any(as_numbers(header, key) for key in NUCLEAR_VECTORS):
        levels = tuple(float(number) for number in range(1, count + 1))
    if not (first and orientation and step_mm and step_mm[0] and levels):
        return [], (), []
    step = step_mm[0] * np.cross(orientation[:3], orientation[3:])
    positions = [tuple(np.array(first) + (level - 1) * step) for level in levels]
    vectors = {key: values for key in NUCLEAR_VECTORS if (values := as_numbers(header, key, count))}
    marks = [
        {key: f"{values[number]:g}" for key, values in vectors.items()} for number in range(count)
    ]
    return positions, orientation, marks
