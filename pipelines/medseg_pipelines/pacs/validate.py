"""What was received, examined before it is kept: which series it is of, and what it holds.

Names are digests: no name, number or UID of the sender becomes part of a path.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import msgspec
from pydicom import uid

from medseg.errors import ReadError
from medseg.reading.dicom.headers import DicomFile, as_text, read_header
from medseg_pipelines.pacs.errors import RefusedError

SCAN_CLASSES = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedMRColorImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
    uid.EnhancedPETImageStorage,
    uid.NuclearMedicineImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.DigitalIntraOralXRayImageStorageForPresentation,
    uid.DigitalIntraOralXRayImageStorageForProcessing,
    uid.UltrasoundMultiFrameImageStorage,
    uid.UltrasoundImageStorage,
    uid.EnhancedUSVolumeStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.XRayAngiographicImageStorage,
    uid.EnhancedXAImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.EnhancedXRFImageStorage,
    uid.XRay3DAngiographicImageStorage,
    uid.XRay3DCraniofacialImageStorage,
    uid.BreastTomosynthesisImageStorage,
    uid.OphthalmicTomographyImageStorage,
)
PLAIN_SYNTAXES = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
SYNTAXES = (
    *PLAIN_SYNTAXES,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)
"""Transfer syntaxes that are taken, the easiest first; none that inflates a whole file."""

_STUDY = "StudyInstanceUID"
_PICTURE = (
    *("Rows", "Columns", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"),
    *("RescaleSlope", "RescaleIntercept", "PixelSpacing", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames"),
)
_META_AT = 132  # bytes of preamble and prefix (DICOM PS3.10 7.1)
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"


class ReceivedObject(msgspec.Struct, frozen=True):
    """An object that may be kept; its UIDs, as the sender wrote them, name no path and no line."""

    series: str  # digests: of which series and object it is,
    instance: str
    content: str  # of its data set,
    picture: str  # and of pixels and geometry, equal for an object with other fields edited
    size: int  # bytes
    study_uid: str
    series_uid: str
    sop_uid: str


def digest(*parts: str) -> str:
    """Short name of something: the same for the same parts, and nothing else."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def series_name(study_uid: str, series_uid: str) -> str:
    """Name of a series in the spool."""
    return digest("series", study_uid, series_uid)


def instance_name(sop_uid: str) -> str:
    """Name of an object in the spool."""
    return digest("instance", sop_uid)


def examine(path: Path) -> ReceivedObject:
    """Look at a DICOM file without decoding its pixels; `RefusedError` when it is not taken."""
    try:
        image = read_header(path, (_STUDY,))
    except ReadError as error:
        raise RefusedError("the object is damaged", code="UNREADABLE") from error
    if image is None or image.text("SOPClassUID") not in SCAN_CLASSES:
        raise RefusedError("the object is no image of a class that may be a scan", code="CLASS")
    syntax = as_text(image.header.file_meta, "TransferSyntaxUID")
    if syntax not in SYNTAXES:
        raise RefusedError("the object's transfer syntax is not taken", code="SYNTAX")
    uids = [image.text(key) for key in (_STUDY, "SeriesInstanceUID", "SOPInstanceUID")]
    if not all(uids):
        raise RefusedError(
            "the object does not say which study, series and object it is", code="NAME"
        )
    names = (series_name(uids[0], uids[1]), instance_name(uids[2]))
    return ReceivedObject(*names, *_digests(image, syntax), image.size, *uids)


def content_of(path: Path) -> str:
    """Digest of the data set in a DICOM file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            _to_dataset(file)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, RefusedError):
        return ""


def _digests(image: DicomFile, syntax: str) -> tuple[str, str]:
    """Of the data set, and of pixels and geometry (of all, where frames have their own)."""
    fields = (syntax, *(f"{keyword}={image.text(keyword)}" for keyword in _PICTURE))
    picture = hashlib.sha256("\0".join(fields).encode("utf-8", "surrogatepass"))
    with image.path.open("rb") as file:
        start = _to_dataset(file)
        content = hashlib.file_digest(file, "sha256")
        file.seek(start if image.is_multiframe else max(start, image.pixels_at))
        hashlib.file_digest(file, lambda: picture)
    return content.hexdigest(), picture.hexdigest()


def _to_dataset(file: BinaryIO) -> int:
    """Go to where the data set begins, after the file meta group (DICOM PS3.10 7.1)."""
    head = file.read(_META_AT + len(_GROUP_LENGTH) + 4)
    if head[_META_AT - 4 : -4] != b"DICM" + _GROUP_LENGTH:
        raise RefusedError("the object has no file meta group", code="UNREADABLE")
    return file.seek(len(head) + int.from_bytes(head[-4:], "little"))
