"""United Imaging's VFRAME images: many slices tiled in one, each with its own position."""

from __future__ import annotations

import math

from medseg.errors import GeometryError
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.header_values import as_items, as_numbers
from medseg.reading.dicom.headers import DicomFile
from medseg.reading.dicom.mosaic import Tiles

_GROUP = 0x0065
_COUNT, _SLICES = 0x50, 0x51


def is_vframe(file: DicomFile) -> bool:
    """Whether the header calls it one."""
    return "VFRAME" in file.text("ImageType").upper().split("\\")


def tiles_of(file: DicomFile) -> Tiles:
    """Where the slices lie, in the stored image and in the patient.

    Raises
    ------
    GeometryError
        Code ``MOSAIC`` when the private header is not there or contradicts itself or the image.

    Notes
    -----
    Tiles follow each other row by row in a square of them. Where the last rows would be empty, the
    image must be one of whole squares: those rows may have been left out.

    References
    ----------
    Private (0065,xx50) is the number of slices, (0065,xx51) a sequence with the
    ImagePositionPatient of each, in the order of the tiles.
    """
    positions = _positions(file)
    count = len(positions)
    across = math.ceil(math.sqrt(max(count, 1)))
    rows, columns = file.count("Rows"), file.count("Columns")
    whole = rows % across == 0 and columns % across == 0
    if not count or not whole or (rows != columns and math.ceil(count / across) != across):
        raise GeometryError(
            f"{file.path.name} is a VFRAME image of United Imaging (many slices tiled in one) that"
            " cannot be placed: its private header does not give a position for each of the tiles"
            f" of {rows} x {columns} pixels; convert it with dcm2niix and give the NIfTI file",
            code="MOSAIC",
        )
    tall, wide = rows // across, columns // across
    tiles = [((k // across) * tall, (k % across) * wide, tall, wide) for k in range(count)]
    return Tiles(tiles, positions)


def _positions(file: DicomFile) -> list[tuple[float, ...]]:
    """ImagePositionPatient of each slice, LPS+ mm; none where they are not all there."""
    tags = [
        _GROUP << 16 | block << 8 | element
        for block in range(0x10, 0x20)
        for element in (_COUNT, _SLICES)
    ]
    dataset = dataset_of(file.path, force=True, stop_before_pixels=True, specific_tags=tags)
    for count_tag, slices_tag in zip(tags[::2], tags[1::2], strict=True):
        items = as_items(dataset, slices_tag)
        positions = [as_numbers(item, "ImagePositionPatient", 3) for item in items]
        if all(positions) and as_numbers(dataset, count_tag, 1) == (len(items),):
            return positions
    return []
