"""What came in, examined before it is kept: which series it is of, and what it holds.

Names are digests: no name, number or UID of the sender becomes part of a path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import ReadError
from medseg.reading.dicom.headers import DicomFile, as_text, read_header

SCAN_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.3",
    "1.2.840.10008.5.1.4.1.1.4.4",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.128.1",
    "1.2.840.10008.5.1.4.1.1.130",
    "1.2.840.10008.5.1.4.1.1.20",
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.2",
    "1.2.840.10008.5.1.4.1.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.1.3",
    "1.2.840.10008.5.1.4.1.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.6.2",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.7.1",
    "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.3",
    "1.2.840.10008.5.1.4.1.1.7.4",
    "1.2.840.10008.5.1.4.1.1.12.1",
    "1.2.840.10008.5.1.4.1.1.12.1.1",
    "1.2.840.10008.5.1.4.1.1.12.2",
    "1.2.840.10008.5.1.4.1.1.12.2.1",
    "1.2.840.10008.5.1.4.1.1.13.1.1",
    "1.2.840.10008.5.1.4.1.1.13.1.2",
    "1.2.840.10008.5.1.4.1.1.13.1.3",
    "1.2.840.10008.5.1.4.1.1.77.1.5.4",
)
"""SOP classes of images that may be scans: CT, MR, PET, NM, X-ray, ultrasound, capture, OCT."""

SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
)
"""Transfer syntaxes that are taken, the easiest first; none that inflates a whole file."""

Keep = Callable[[Path, str], object]
"""What is done with a file that came, and the SOPInstanceUID that was announced for it."""

_STUDY = "StudyInstanceUID"
_PICTURE = (
    "Rows",
    "Columns",
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "NumberOfFrames",
)
_META_AT = 132  # bytes of preamble and prefix (DICOM PS3.10 7.1)
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_CHUNK = 1 << 20


class RefusedError(ReadError):
    """What came in is not kept."""


@dataclass(frozen=True, kw_only=True)
class ReceivedObject:
    """An object that may be kept.

    Parameters
    ----------
    series, instance : str
        Digests of which series and which object it is.
    content : str
        Digest of its data set.
    picture : str
        Digest of pixels and geometry: equal for an object whose other fields were edited.
    bytes : int
    study_uid, series_uid, sop_uid : str
        As the sender wrote them; never part of a path or a message.
    """

    series: str
    instance: str
    content: str
    picture: str
    bytes: int
    study_uid: str
    series_uid: str
    sop_uid: str


def digest(*words: str) -> str:
    """Short name of something: the same for the same words, and nothing else."""
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def series_name(study_uid: str, series_uid: str) -> str:
    """Name of a series in the spool."""
    return digest("series", study_uid, series_uid)


def instance_name(sop_uid: str) -> str:
    """Name of an object in the spool."""
    return digest("instance", sop_uid)


def examine(path: Path) -> ReceivedObject:
    """Look at a DICOM file without decoding its pixels.

    Parameters
    ----------
    path : Path
        With preamble and file meta group.

    Raises
    ------
    RefusedError
        When it is damaged, of a class or transfer syntax that is not taken, or does not say
        which object it is.
    """
    try:
        image = read_header(path, (_STUDY,))
    except ReadError as error:
        raise RefusedError("the object is damaged", code="UNREADABLE") from error
    if image is None or image.text("SOPClassUID") not in SCAN_CLASSES:
        raise RefusedError("the object is no image of a class that may be a scan", code="CLASS")
    syntax = as_text(image.header.file_meta, "TransferSyntaxUID")
    if syntax not in SYNTAXES:
        raise RefusedError("the object's transfer syntax is not taken", code="SYNTAX")
    names = [image.text(word) for word in (_STUDY, "SeriesInstanceUID", "SOPInstanceUID")]
    if not all(names):
        raise RefusedError(
            "the object does not say which study, series and object it is", code="NAME"
        )
    study_uid, series_uid, sop_uid = names
    content, picture = _digests(image, syntax)
    return ReceivedObject(
        series=series_name(study_uid, series_uid),
        instance=instance_name(sop_uid),
        content=content,
        picture=picture,
        bytes=image.size,
        study_uid=study_uid,
        series_uid=series_uid,
        sop_uid=sop_uid,
    )


def content_of(path: Path) -> str:
    """Digest of the data set in a DICOM file; empty when it cannot be read."""
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as file:
            file.seek(_dataset_at(file.read(_META_AT + 12)))
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
    except (OSError, RefusedError):
        return ""
    return hashed.hexdigest()


def flush(path: Path) -> None:
    """Push a file, or a folder's list of names, to the disk (folders only where that exists)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digests(image: DicomFile, syntax: str) -> tuple[str, str]:
    """Of the data set, and of pixels and geometry."""
    content, picture = hashlib.sha256(), hashlib.sha256()
    for word in (syntax, *(f"{word}={image.text(word)}" for word in _PICTURE)):
        picture.update(word.encode("utf-8", "surrogatepass") + b"\0")
    with image.path.open("rb") as file:
        file.seek(_dataset_at(file.read(_META_AT + 12)))
        apart = image.pixels_at if not image.is_multiframe else 0
        while chunk := file.read(_chunk(file.tell(), apart)):
            content.update(chunk)
            if file.tell() > apart:
                picture.update(chunk)
    return content.hexdigest(), picture.hexdigest()


def _chunk(at: int, stop: int) -> int:
    """How many bytes to read, so that one piece ends at `stop`."""
    return min(_CHUNK, stop - at) if at < stop else _CHUNK


def _dataset_at(start: bytes) -> int:
    """Where the data set begins, after the file meta group (DICOM PS3.10 7.1)."""
    length = start[_META_AT + len(_GROUP_LENGTH) : _META_AT + 12]
    if start[_META_AT - 4 : _META_AT + len(_GROUP_LENGTH)] != b"DICM" + _GROUP_LENGTH:
        raise RefusedError("the object has no file meta group", code="UNREADABLE")
    return _META_AT + 12 + int.from_bytes(length, "little")
