"""What a search over an archive asks the headers of DICOM stacks; no pixels, no patient text kept.

Reading a scan never parses the fields listed here. There are two kinds: facts, which may be stored
and shown, and free text, in which people write what they like. Free text may be matched against a
rule while the header is at hand; it goes nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import InputError, ReadError
from medseg.reading import zip_archive
from medseg.reading.dicom.folder import stacks_below
from medseg.reading.dicom.headers import (
    DicomFile,
    as_items,
    as_numbers,
    as_text,
    not_a_scan,
    read_header,
    sanitized,
)
from medseg.reading.dicom.pixel_data import check_pixel_length
from medseg.reading.dicom.planar import lacks_position
from medseg.reading.dicom.stacks import Stack, stacks_of
from medseg.runtime.progress import Progress
from medseg.volume import Grid
from medseg.volume.conventions import orientation_letters

__all__ = [
    "FACTS",
    "FREE_TEXT_FIELDS",
    "DicomFile",
    "StackHeader",
    "free_text_of",
    "headers_of",
    "of_grid",
    "read_file",
    "read_zip",
    "without_names",
]

Fact = str | int | float | list[str | float] | None

_CODES = (
    "Modality",
    "BodyPartExamined",
    "ConvolutionKernel",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientPosition",
    "MRAcquisitionType",
    "ScanningSequence",
    "SequenceVariant",
    "Laterality",
    "ViewPosition",
)
_NUMBERS = (
    "SliceThickness",
    "MagneticFieldStrength",
    "KVP",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "SeriesNumber",
    "Rows",
    "Columns",
)
_GEOMETRY = (
    "PixelSpacing",
    "spacing_mm",
    "orientation",
    "plane",
    "oblique_degrees",
    "tilt_degrees",
)
FACTS = (
    *_CODES,
    *_NUMBERS,
    *_GEOMETRY,
    "ImageType",
    "StudyYear",
    "TransferSyntax",
    "format",
    "slices",
    "files",
    "volume",
    "volumes",
    "copies",
)
"""Names of all facts; those in small letters are medseg's own."""

FREE_TEXT_FIELDS = (
    "SeriesDescription",
    "StudyDescription",
    "ProtocolName",
    "ContrastBolusAgent",
    "RequestedProcedureDescription",
    "InstitutionName",
    "StationName",
    "PatientSex",
    "PatientAge",
)
"""Fields that may hold what identifies a patient; PatientAge is in years."""

_PERSON = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "StudyDate")
_MORE = tuple(dict.fromkeys((*_CODES, *_NUMBERS, *FREE_TEXT_FIELDS, *_PERSON)))
_OBLIQUE_DEGREES = 20.0
_SHORT_NAME = 4
_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, eq=False)
class StackHeader:
    """A stack, as far as headers tell.

    Parameters
    ----------
    selector : str
        What ``series`` chooses it by.
    identity : tuple of str
        What stays the same when slices are added: series, kind, size, orientation, volume.
    instance_uids : tuple of str
        Of its files, as they stand there.
    paths : tuple of Path
    study, patient : str
        Digests that only tell whether two are the same; empty when the fields are blank.
    facts : dict
        See :data:`FACTS`; what is not known is absent.
    free_text : dict of str to str or float
        See :data:`FREE_TEXT_FIELDS`; not to be stored or shown.
    refusal : InputError or None
        Why it cannot be read; its message names no file.
    notes : tuple of str
    is_picture : bool
        Whether it has no place in the patient.
    """

    selector: str
    identity: tuple[str, ...]
    instance_uids: tuple[str, ...]
    paths: tuple[Path, ...]
    study: str
    patient: str
    facts: dict[str, Fact]
    free_text: Mapping[str, str | float]
    refusal: InputError | None
    notes: tuple[str, ...]
    is_picture: bool


def read_file(path: Path) -> DicomFile | None:
    """The header of a DICOM image with all that a search asks; None when it is no such thing.

    Raises
    ------
    ReadError
        When it is DICOM but damaged; the message does not name the file.
    """
    try:
        image = read_header(path, _MORE)
    except ReadError as error:
        raise without_names(error, [path]) from (error.__cause__ or error)
    return None if image is None or not_a_scan(image) else image


def read_zip(path: Path, progress: Progress) -> list[StackHeader]:
    """The stacks of DICOM images in a zip archive, which is unpacked for a moment.

    Raises
    ------
    ReadError
        When the archive or a file in it is damaged, or it is unsafe or too large.
    """
    try:
        with zip_archive.unpacked(path, progress=progress) as folder:
            stacks, faults, _ = stacks_below(folder, progress, extra_fields=_MORE)
            for fault in faults.values():
                raise fault
            paths = [path for stack in stacks for path in stack.paths]
            return [_described(stack, paths) for stack in stacks]
    except ReadError as error:
        raise without_names(error, [path]) from (error.__cause__ or error)


def headers_of(files: Sequence[DicomFile]) -> list[StackHeader]:
    """The stacks among files, each described.

    Returns
    -------
    list of StackHeader
        In the order in which their first files come, sorted by path.
    """
    ordered = sorted(files, key=lambda item: item.path)
    paths = [file.path for file in ordered]
    return [_described(stack, paths) for stack in stacks_of(ordered)]


def without_names(error: InputError, paths: Sequence[Path]) -> InputError:
    """The error with files' names taken out of its message, for patients' names may be there."""
    message = str(error)
    for name in sorted({path.name for path in paths}, key=len, reverse=True):
        if len(name) > _SHORT_NAME:  # such as 1 or IM2: these are no names of persons
            message = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "the file", message)
    return type(error)(message, code=error.code)


def _described(stack: Stack, paths: Sequence[Path]) -> StackHeader:
    """A stack among files at these paths."""
    file = stack.frames[0].file
    files = list(dict.fromkeys(frame.file for frame in stack.frames))
    study = file.text("StudyInstanceUID")
    patient = (file.text("PatientID"), file.text("IssuerOfPatientID"))
    return StackHeader(
        selector=stack.selector,
        identity=_identity(stack),
        instance_uids=tuple(member.instance_uid for member in files),
        paths=tuple(member.path for member in files),
        study=_digest(study) if study else "",
        patient=_digest(*patient) if patient[0] else "",
        facts=_facts(stack, len(files)),
        free_text=free_text_of(file),
        refusal=_refusal(stack, files, paths),
        notes=stack.notes,
        is_picture=stack.is_picture,
    )


def _refusal(stack: Stack, files: Sequence[DicomFile], paths: Sequence[Path]) -> InputError | None:
    """Why it cannot be read: its geometry, or pixels that are not all there."""
    refusal = stack.refusal
    try:
        for file in files:
            check_pixel_length(file)
    except InputError as error:
        refusal = error
    return without_names(refusal, paths) if refusal else None


def _identity(stack: Stack) -> tuple[str, ...]:
    first = stack.frames[0]
    file = first.file
    own_uid = file.instance_uid if file.is_multiframe else ""
    orientation = " ".join(f"{round(x, 1) + 0.0:.1f}" for x in first.orientation)
    spacing = " ".join(f"{mm:.2f}" for mm in first.pixel_spacing_mm)
    keys = ("SOPClassUID", "FrameOfReferenceUID", "Rows", "Columns")
    values = tuple(file.text(key) for key in keys)
    return (
        file.text("SeriesInstanceUID"),
        *values,
        orientation,
        spacing,
        str(stack.volume[0]),
        own_uid,
    )


def _facts(stack: Stack, files: int) -> dict[str, Fact]:
    first = stack.frames[0]
    file = first.file
    facts: dict[str, Fact] = {"format": "dicom", "slices": len(stack.frames), "files": files}
    facts |= {key: code for key in _CODES if (code := _code(file, key))}
    facts |= {key: _number(n[0]) for key in _NUMBERS if (n := as_numbers(file.header, key))}
    facts |= {"copies": stack.copies, "volume": stack.volume[0], "volumes": stack.volume[1]}
    facts |= _of_groups(stack)
    kinds: list[str | float] = [sanitized(kind) for kind in file.text("ImageType").split("\\")]
    facts |= {"ImageType": kinds} if any(kinds) else {}
    year = file.text("StudyDate")[:4]
    facts |= {"StudyYear": int(year)} if year.isascii() and year.isdigit() else {}
    with contextlib.suppress(ValueError):  # what the header states is no transfer syntax
        facts["TransferSyntax"] = sanitized(file.transfer_syntax.name)
    if stack.grid is None:
        return facts
    if lacks_position(first):
        return facts | {"spacing_mm": list(stack.grid.spacing_mm)}
    return facts | of_grid(stack.grid)


def _number(number: float) -> int | float:
    """A whole number without a point."""
    return int(number) if number.is_integer() else number


def _code(file: DicomFile, keyword: str) -> str:
    """A field of short words; several joined by a space."""
    return sanitized(" ".join(file.text(keyword).split("\\"))).strip()


def _of_groups(stack: Stack) -> dict[str, Fact]:
    """What stands in functional groups where there are any."""
    first = stack.frames[0]
    facts: dict[str, Fact] = {}
    if first.pixel_spacing_mm:
        facts["PixelSpacing"] = list(first.pixel_spacing_mm)
    kernel = first.group_marks.get("CTReconstructionSequence.ConvolutionKernel", "")
    facts |= {"ConvolutionKernel": sanitized(kernel)} if kernel else {}
    for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in as_items(first.file.header, keyword)[:1]:
            for item in as_items(group, "PixelMeasuresSequence")[:1]:
                thickness = as_numbers(item, "SliceThickness", 1)
                facts |= {"SliceThickness": thickness[0]} if thickness else {}
    return facts


def of_grid(grid: Grid) -> dict[str, Fact]:
    """Facts about where voxels lie.

    Returns
    -------
    dict
        The `plane` is that of the slices: axial, coronal or sagittal, oblique when their normal
        is more than 20 degrees from all three.
    """
    normal = np.cross(grid.direction[:, 0], grid.direction[:, 1])
    cosine = float(np.abs(normal).max() / np.linalg.norm(normal))
    angle = float(np.degrees(np.arccos(min(cosine, 1.0))))
    letters = orientation_letters(grid)
    plane = _PLANES.get(letters[2], "sagittal")
    return {
        "slices": grid.shape[2],
        "spacing_mm": [round(mm, 6) for mm in grid.spacing_mm],
        "orientation": letters,
        "plane": "oblique" if angle > _OBLIQUE_DEGREES else plane,
        "oblique_degrees": round(angle, 3),
        "tilt_degrees": round(grid.shear_degrees, 3),
    }


def free_text_of(file: DicomFile) -> dict[str, str | float]:
    """What people wrote into a header, by field; not to be stored or shown."""
    texts: dict[str, str | float] = {
        key: text for key in FREE_TEXT_FIELDS if key != "PatientAge" and (text := file.text(key))
    }
    age = as_text(file.header, "PatientAge")
    if age[:-1].isdigit() and age[-1:] in _YEARS:
        texts["PatientAge"] = int(age[:-1]) * _YEARS[age[-1]]
    return texts


def _digest(*parts: str) -> str:
    """Stands for texts that must not be stored."""
    text = "\0".join(parts).encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=16, person=b"medseg").hexdigest()
