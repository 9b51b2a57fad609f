"""Headers of the DICOM slices that were labelled: a DICOM result must refer to them."""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import WriteError
from medseg.volume import Code, Grid
from medseg.volume.conventions import dicom_from_affine
from medseg.writing._native_labels import NativeLabels

if TYPE_CHECKING:
    from pydicom import Dataset

_NAMESPACE = uuid.UUID("6f1d9c0e-6d0b-5c0a-9d0e-2f8a4b7c1e35")
LONG_STRING = 64
"""Characters in DICOM's value representation LO."""

_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "Manufacturer",
)
_CHARSETS = (
    *(f"ISO_IR {number}" for number in (13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 203)),
    *("ISO_IR 192", "GB18030", "GBK"),
)
"""Character sets without code extensions (DICOM PS3.3 C.12.1.1.2)."""


def stable_uid(*parts: str) -> str:
    """A DICOM UID that is the same whenever the parts are: UUIDv5 written as ``2.25.<integer>``.

    References
    ----------
    DICOM PS3.5 B.2.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"


def coded_concept(code: Code) -> Any:
    """A code as highdicom's concept, its meaning cut to what DICOM holds."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning[:LONG_STRING])


def source_headers(labels: NativeLabels) -> list[Dataset]:
    """Headers of the labelled slices in K order, or of the one multi-frame file.

    Fields that every result must repeat and that the source lacks are filled in, in memory: empty
    where DICOM allows it, else a UID that follows from the series.

    Raises
    ------
    WriteError
        When the files have changed or gone.
    """
    source = labels.slices
    headers: dict[Path, Dataset] = {}
    for path, uid in zip(source.files, source.instance_uids, strict=True):
        if path not in headers:
            headers[path] = _header(path, uid)
    for header, grid in zip(headers.values(), source.grids, strict=False):  # or one file of all
        _complete(header)
        _complete_geometry(header, grid)
    return list(headers.values())


@contextmanager
def values_as_they_are() -> Iterator[None]:
    """Let odd values of a source pass through to a result, and no warning quote them."""
    from pydicom import config

    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def common_charset(headers: list[Dataset], texts: Iterable[str]) -> Any:
    """Specific Character Set of a result: the source's, or UTF-8 where that cannot hold a text.

    UTF-8 also takes the place of several and of unknown ones.

    Parameters
    ----------
    headers : list of pydicom.Dataset
        Of the source; turned to UTF-8 in memory when the result must be.
    texts : iterable of str
    """
    stated = headers[0].get("SpecificCharacterSet")
    if (stated and stated not in _CHARSETS) or not all(text.isascii() for text in texts):
        for header in headers:
            header.decode()
            header.SpecificCharacterSet = "ISO_IR 192"
    return headers[0].get("SpecificCharacterSet")


def _header(path: Path, uid: str) -> Dataset:
    """The header of one source file, which must still be the one that was read."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        is_same = str(header.get("SOPInstanceUID", "")) == uid
    except (OSError, InvalidDicomError) as error:
        raise WriteError(
            f"the source slice {path.name} cannot be read any more; a DICOM result needs it,"
            " write .nii.gz instead",
            code="SOURCE_MISSING",
        ) from error
    if not is_same or not header.get("SOPClassUID"):
        raise WriteError(
            f"the source slice {path.name} has no SOPClassUID or is another image than the one"
            " that was segmented; segment again, or write .nii.gz",
            code="SOURCE_CHANGED",
        )
    return header


def _complete(header: Dataset) -> None:
    """Fill in what a result must repeat."""
    for keyword in _TYPE_2:
        setattr(header, keyword, _usable(header, keyword))
    if "SpecificCharacterSet" in header and not header.SpecificCharacterSet:
        del header.SpecificCharacterSet  # blank means the default, as does its absence
    series = str(header.get("SeriesInstanceUID") or "")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not header.get(keyword):
            setattr(header, keyword, stable_uid(keyword, series))


def _usable(header: Dataset, keyword: str) -> Any:
    """A value of the source; dates and times without ACR-NEMA's marks, empty when they are none."""
    from pydicom.valuerep import DA, TM

    try:
        value = header.get(keyword, "")
        text = str(value or "").strip()
        if keyword.endswith("Date"):
            text = text.replace(".", "")
            value = str(DA(text)) if text else ""
        elif keyword.endswith("Time"):
            text = text.replace(":", "")
            value = str(TM(text)) if text else ""
    except (ValueError, TypeError, NotImplementedError):
        return ""
    is_known = keyword != "PatientSex" or value in ("M", "F", "O")
    return value if is_known and value is not None else ""


def _complete_geometry(header: Dataset, grid: Grid) -> None:
    """Fill in slice thickness, and the shared groups of a multi-frame header that has them apart.

    They are only what the library that writes the result requires: the result's own
    geometry comes from the slices' positions, or from `grid`.
    """
    if "PerFrameFunctionalGroupsSequence" not in header:
        _complete_slice(header, grid)
        return
    if not header.get("SharedFunctionalGroupsSequence"):
        header.SharedFunctionalGroupsSequence = [_empty()]
    shared = header.SharedFunctionalGroupsSequence[0]
    measures, orientation = _plane_groups(grid)
    if "PixelMeasuresSequence" not in shared:
        shared.PixelMeasuresSequence = [measures]
    if "PlaneOrientationSequence" not in shared:
        shared.PlaneOrientationSequence = [orientation]


def _complete_slice(header: Dataset, grid: Grid) -> None:
    """The same in the header of a single slice, where its fields are absent or no numbers."""
    for keyword, numbers in _geometry(grid).items():
        if not _has_numbers(header, keyword, len(numbers)):
            setattr(header, keyword, numbers if len(numbers) > 1 else numbers[0])
    if "SpacingBetweenSlices" in header and not _has_numbers(header, "SpacingBetweenSlices", 1):
        del header.SpacingBetweenSlices


def _geometry(grid: Grid) -> dict[str, list[str]]:
    """The fields that say where the first slice of a grid lies, as DICOM writes numbers."""
    orientation, spacing, first_mm, _ = dicom_from_affine(grid.affine)
    return {
        "PixelSpacing": [f"{mm:.10g}" for mm in spacing],
        "SliceThickness": [f"{grid.spacing_mm[2]:.10g}"],
        "ImageOrientationPatient": [f"{cosine:.12g}"[:16] for cosine in orientation],
        "ImagePositionPatient": [f"{mm:.10g}" for mm in first_mm],
    }


def _has_numbers(header: Dataset, keyword: str, count: int) -> bool:
    """Whether a field holds so many numbers, and not zeros where these say nothing."""
    try:
        value = header.get(keyword)
        numbers = [float(item) for item in ([value] if count == 1 else value)]
    except (TypeError, ValueError):
        return False
    usable = all(map(math.isfinite, numbers)) and (any(numbers) or count == 3)
    return len(numbers) == count and usable


def _plane_groups(grid: Grid) -> tuple[Dataset, Dataset]:
    """Items for PixelMeasuresSequence and PlaneOrientationSequence."""
    geometry = _geometry(grid)
    measures, plane = _empty(), _empty()
    measures.PixelSpacing = geometry["PixelSpacing"]
    measures.SliceThickness = geometry["SliceThickness"][0]
    plane.ImageOrientationPatient = geometry["ImageOrientationPatient"]
    return measures, plane


def _empty() -> Dataset:
    from pydicom import Dataset

    return Dataset()
