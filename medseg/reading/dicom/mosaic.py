"""Siemens mosaics: many slices tiled in one image, placed by the scanner's own (CSA) header."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.header_values import as_numbers
from medseg.reading.dicom.headers import DicomFile
from medseg.volume.grid import FloatArray

_CSA_GROUP = 0x0029
_IMAGE, _SERIES = 0x10, 0x20
_MARK = b"SV10"
_SLICE = re.compile(r"sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*([-+.\deE]+)")
_AXES = ("Sag", "Cor", "Tra")
_OFF_MM = 0.1
_MOST_SLICES = 1024
_NORMAL_OFF = 1e-3


@dataclass(frozen=True)
class Tiles:
    """The slices of a mosaic.

    Parameters
    ----------
    tiles : list of tuple of int
        First row, first column, rows and columns of each slice in the stored image.
    positions_mm : list of tuple of float
        Centre of the first pixel of each, LPS+.
    """

    tiles: list[tuple[int, int, int, int]]
    positions_mm: list[tuple[float, ...]]


def is_mosaic(file: DicomFile) -> bool:
    """Whether the header calls it one."""
    return "MOSAIC" in file.text("ImageType").upper().split("\\")


def tiles_of(file: DicomFile) -> Tiles:
    """Where the slices of a mosaic lie, in it and in the patient.

    Raises
    ------
    GeometryError
        Code ``MOSAIC`` when the CSA header is not there or contradicts itself or the image.

    Notes
    -----
    ImagePositionPatient is that of an image as large as the mosaic about the first slice's centre.
    Slices follow each other along the CSA header's SliceNormalVector, row after row of tiles.
    Where the protocol states the centre of each slice, the first and last must lie there.

    References
    ----------
    nibabel.nicom.dicomwrappers.MosaicWrapper, which derives both.
    """
    image, protocol = _csa(file)
    numbers = image.get("NumberOfImagesInMosaic", ())
    normal = np.array(image.get("SliceNormalVector", ()))
    position = as_numbers(file.header, "ImagePositionPatient", 3)
    spacing = as_numbers(file.header, "PixelSpacing", 2)
    orientation = as_numbers(file.header, "ImageOrientationPatient", 6)
    distance = as_numbers(file.header, "SpacingBetweenSlices", 1)
    if not (numbers and normal.shape == (3,) and position and spacing and orientation and distance):
        raise _fault(file, "its CSA header is missing or says too little")
    count = int(numbers[0])
    across = math.ceil(math.sqrt(max(count, 1)))
    rows, columns = file.count("Rows"), file.count("Columns")
    if not 0 < count <= _MOST_SLICES or rows % across or columns % across:
        raise _fault(file, f"{count} slices do not tile {rows} x {columns} pixels")
    axes = np.reshape(orientation, (2, 3))
    if np.abs(np.abs(normal @ np.cross(*axes)) - 1) > _NORMAL_OFF:
        raise _fault(file, "its slice normal is not that of its orientation")
    tall, wide = rows // across, columns // across
    inset = axes[0] * spacing[1] * (columns - wide) / 2 + axes[1] * spacing[0] * (rows - tall) / 2
    first = np.array(position) + inset
    places = first + np.arange(count)[:, None] * normal * distance[0]
    centre = axes[0] * spacing[1] * wide / 2 + axes[1] * spacing[0] * tall / 2
    _check_centres(file, places + centre, protocol)
    tiles = [((k // across) * tall, (k % across) * wide, tall, wide) for k in range(count)]
    return Tiles(tiles, [tuple(map(float, position)) for position in places])


def _check_centres(file: DicomFile, centres: FloatArray, protocol: str) -> None:
    """Compare the first and last slice's centre with the protocol, where that has all of them."""
    stated: dict[int, dict[str, float]] = {}
    for number, axis, text in _SLICE.findall(protocol):
        stated.setdefault(int(number), {})[axis] = float(text)
    if len(stated) != len(centres):
        return
    expected = np.array(
        [[stated[k].get(axis, 0.0) for axis in _AXES] for k in sorted(stated)], np.float64
    )
    ends = np.linalg.norm(centres[[0, -1]] - expected[[0, -1]], axis=1).max()
    turned = np.linalg.norm(centres[[0, -1]] - expected[[-1, 0]], axis=1).max()
    moved = np.linalg.norm(centres.mean(axis=0) - expected.mean(axis=0))
    if min(ends, turned) > _OFF_MM and moved <= _OFF_MM:
        raise _fault(
            file, f"its slices lie {min(ends, turned):.1f} mm from where its protocol says"
        )


def _csa(file: DicomFile) -> tuple[dict[str, tuple[float, ...]], str]:
    """Numbers of the CSA image header, and the text of the protocol."""
    tags = [
        _CSA_GROUP << 16 | block << 8 | element
        for block in range(0x10, 0x20)
        for element in (_IMAGE, _SERIES)
    ]
    dataset = dataset_of(file.path, force=True, stop_before_pixels=True, specific_tags=tags)
    numbers: dict[str, tuple[float, ...]] = {}
    protocol = ""
    for tag in tags:
        content = dataset.get_item(tag).value if tag in dataset else None
        if isinstance(content, bytes) and tag & 0xFF == _IMAGE:
            numbers |= _csa_numbers(content)
        elif isinstance(content, bytes):
            protocol += content.decode("latin-1")
    return numbers, protocol


def _csa_numbers(content: bytes) -> dict[str, tuple[float, ...]]:
    """Numeric elements of a CSA header of the second kind.

    References
    ----------
    nibabel.nicom.csareader: "SV10", four bytes, count, 77; elements of a name of 64 bytes, vm, vr,
    type, count of items and 77, with items of four lengths and a text padded to four bytes.
    """
    if content[:4] != _MARK or len(content) < 16:
        return {}
    numbers: dict[str, tuple[float, ...]] = {}
    at = 16
    try:
        for _ in range(struct.unpack_from("<I", content, 8)[0]):
            name, _, _, _, items, _ = struct.unpack_from("<64si4s3i", content, at)
            at += 84
            texts = []
            for _ in range(items):
                _, length, _, _ = struct.unpack_from("<4i", content, at)
                texts.append(content[at + 16 : at + 16 + length].split(b"\0")[0].strip())
                at += 16 + (max(length, 0) + 3) // 4 * 4
            key = name.split(b"\0")[0].decode("latin-1")
            if values := _floats([text for text in texts if text]):
                numbers[key] = values
    except struct.error:
        return {}
    return numbers


def _floats(texts: list[bytes]) -> tuple[float, ...]:
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        return ()


def _fault(file: DicomFile, why: str) -> GeometryError:
    return GeometryError(
        f"{file.path.name} is a Siemens mosaic (many slices tiled in one image) that cannot be"
        f" placed: {why}; convert it with dcm2niix and give the NIfTI file",
        code="MOSAIC",
    )
