"""Ten ways in which a series of an archive is bad, and the code that each must end with."""

from __future__ import annotations

import copy
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from hospital.styles import PLAIN, encode, nifti, stored_values, uid

_MIDDLE = 4
_GROWN = 64 << 20


@dataclass(frozen=True)
class Poison:
    """A series that must not be segmented.

    Parameters
    ----------
    name : str
        What is wrong.
    code : str
        That the ledger must show.
    write : callable
        Writes the series of a number, at a size, below the root; the files.
    """

    name: str
    code: str
    write: Callable[[Path, int, float], list[Path]]


POISONS: list[Poison] = []
_Writer = Callable[[Path, int, float], list[Path]]
_Spoiler = Callable[[list[Dataset], int], list[Dataset]]


def _whole(name: str, code: str) -> Callable[[_Writer], _Writer]:
    """A poison that writes its own files."""

    def add(write: _Writer) -> _Writer:
        POISONS.append(Poison(name, code, write))
        return write

    return add


def _spoilt(name: str, code: str) -> Callable[[_Spoiler], _Spoiler]:
    """A poison that changes the slices of a plain CT."""

    def add(spoil: _Spoiler) -> _Spoiler:
        def write(root: Path, number: int, size: float) -> list[Path]:
            return PLAIN.layout(spoil(PLAIN.datasets(number, size), number), root, number)

        POISONS.append(Poison(name, code, write))
        return spoil

    return add


@_spoilt("one slice missing", "MISSING_SLICE")
def _missing(slices: list[Dataset], _number: int) -> list[Dataset]:
    return slices[:_MIDDLE] + slices[_MIDDLE + 1 :]


@_spoilt("two images at one position", "AMBIGUOUS_4D")
def _same_position(slices: list[Dataset], number: int) -> list[Dataset]:
    twin = copy.deepcopy(slices[_MIDDLE])
    twin.PixelData = bytes(len(slices[_MIDDLE].PixelData))
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = uid(number, "twin")
    return [*slices, twin]


@_spoilt("one slice without position", "INCOMPLETE_GEOMETRY")
def _unplaced(slices: list[Dataset], _number: int) -> list[Dataset]:
    del slices[_MIDDLE].ImagePositionPatient
    return slices


@_spoilt("a Siemens mosaic", "MOSAIC")
def _mosaic(slices: list[Dataset], _number: int) -> list[Dataset]:
    for ds in slices:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    return slices


@_spoilt("RLE whose header claims 6,000 rows", "UNDECODABLE")
def _lying_rle(slices: list[Dataset], _number: int) -> list[Dataset]:
    for ds in slices:
        encode(ds, RLELossless)
        ds.Rows = ds.Columns = 6_000
    return slices


@_spoilt("JPEG 2000 of another size than its header", "UNDECODABLE")
def _lying_rows(slices: list[Dataset], _number: int) -> list[Dataset]:
    for ds in slices:
        encode(ds, JPEG2000Lossless)
        ds.Rows += 1
    return slices


@_whole("pixels cut off in one file", "TRUNCATED")
def _cut(root: Path, number: int, size: float) -> list[Path]:
    paths = PLAIN.write(root, number, size)
    whole = paths[_MIDDLE].read_bytes()
    paths[_MIDDLE].write_bytes(whole[:-200])
    return paths


@_whole("20,000 nested sequences in one file", "DAMAGED")
def _nested(root: Path, number: int, size: float) -> list[Path]:
    paths = PLAIN.write(root, number, size)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHI", 0x0018, 0x9004, b"SQ", 0, 0xFFFFFFFF)
    whole = paths[_MIDDLE].read_bytes()
    at = whole.index(struct.pack("<HH", 0x0028, 0x0002))
    paths[_MIDDLE].write_bytes(whole[:at] + (sequence + item) * 20_000 + whole[at:])
    return paths


@_whole("NaN voxels in a NIfTI file", "NOT_FINITE")
def _not_finite(root: Path, number: int, _size: float) -> list[Path]:
    voxels = stored_values((12, 22, 24), number).T.astype(np.float32)
    voxels[3, 4, 5] = np.nan
    return [nifti(voxels, root / "research" / f"sub-{number:05d}" / "anat.nii.gz")]


@_whole("a zip bomb", "TOO_LARGE")
def _bomb(root: Path, number: int, _size: float) -> list[Path]:
    path = root / "zips" / f"CD{number:05d}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("DICOM/I1"), bytes(_GROWN), zipfile.ZIP_DEFLATED)
    return [path]
