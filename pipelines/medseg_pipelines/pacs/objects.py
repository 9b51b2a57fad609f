"""What peers have and what is sent to them, by DICOMweb or DIMSE alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom import uid
from pydicom.errors import InvalidDicomError

from medseg.errors import InputError
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.headers import as_text
from medseg_pipelines.pacs.errors import peer_error
from medseg_pipelines.pacs.validate import series_name

Keep = Callable[[Path, str], object]
"""What is done with a file that came, and the SOPInstanceUID that was announced for it."""

LABELMAP_SEG = uid.UID("1.2.840.10008.5.1.4.1.1.66.7")  # pydicom has no name for it yet
RESULT_CLASSES = {
    uid.SegmentationStorage: "a DICOM SEG",
    LABELMAP_SEG: "a label-map DICOM SEG",
    uid.RTStructureSetStorage: "an RT Structure Set",
    uid.Comprehensive3DSRStorage: "a DICOM SR",
    uid.ComprehensiveSRStorage: "a DICOM SR",
    uid.EnhancedSRStorage: "a DICOM SR",
}
"""SOP classes of what may be sent, in words."""

_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(?:\.[0-9]+)*")
_UNREADABLE = (OSError, InvalidDicomError, ValueError, EOFError)
_SUBSTANCE = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"),
    *("Rows", "Columns", "NumberOfFrames", "PixelData"),
    *("SegmentationType", "SegmentSequence", "ReferencedSeriesSequence", "ContentSequence"),
    *("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
    *("ROIContourSequence", "StructureSetROISequence"),
)


@dataclass(frozen=True, kw_only=True)
class RemoteSeries:
    """A series that a peer has; its UIDs are valid."""

    study_uid: str
    series_uid: str
    objects: int | None  # as many as the peer counts
    modality: str = ""

    @property
    def name(self) -> str:
        """Name of the series in the spool."""
        return series_name(self.study_uid, self.series_uid)

    @property
    def query(self) -> dict[str, str]:
        """What finds it, by DICOM keyword."""
        return {"StudyInstanceUID": self.study_uid, "SeriesInstanceUID": self.series_uid}


@dataclass(frozen=True, kw_only=True)
class OutgoingObject:
    """A result as a peer will know it."""

    path: Path
    sop_class: str
    syntax: str
    study_uid: str
    series_uid: str
    sop_uid: str
    source: str = ""  # name in the spool of the series that was segmented

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return RESULT_CLASSES[uid.UID(self.sop_class)]

    @property
    def query(self) -> dict[str, str]:
        """What finds it, by DICOM keyword."""
        keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        return dict(zip(keywords, (self.study_uid, self.series_uid, self.sop_uid), strict=True))


def checked_uid(text: object, peer: str) -> str:
    """A UID of a peer's answer, which may become part of a question to it."""
    if not _UID.fullmatch(str(text)):
        what = "names an object by something that is no UID; nothing of that series was fetched"
        raise peer_error(peer, "ANSWER", what)
    return str(text)


def remote_series(
    peer: str, study: object, series: object, modality: object, count: object
) -> RemoteSeries:
    """A series from the fields of a peer's answer."""
    return RemoteSeries(
        study_uid=checked_uid(study, peer),
        series_uid=checked_uid(series, peer),
        objects=int(str(count)) if str(count).isdecimal() else None,
        modality=str(modality),
    )


def outgoing(path: Path) -> OutgoingObject:
    """Look at a result; raises `InputError` unless it is a DICOM SEG, SR or RT Structure Set."""
    try:
        header = dataset_of(path, stop_before_pixels=True)
    except _UNREADABLE as error:
        raise InputError(f"'{path.name}' is no DICOM file; give a DICOM SEG or SR") from error
    sop_class, study = as_text(header, "SOPClassUID"), as_text(header, "StudyInstanceUID")
    if sop_class not in RESULT_CLASSES:
        raise InputError(
            f"'{path.name}' is no DICOM SEG, SR or RT Structure Set, which is what can be sent;"
            " give such a file"
        )
    references = header.get("ReferencedSeriesSequence") or []
    referenced = [as_text(item, "SeriesInstanceUID") for item in references]
    return OutgoingObject(
        path=path,
        sop_class=sop_class,
        syntax=as_text(header.file_meta, "TransferSyntaxUID"),
        study_uid=study,
        series_uid=as_text(header, "SeriesInstanceUID"),
        sop_uid=as_text(header, "SOPInstanceUID"),
        source=series_name(study, referenced[0]) if referenced else "",
    )


def label_map_beside(report: Path) -> Path | None:
    """The label-map SEG in the folder of a measurement report, which refers to it."""
    seg = report.with_name("seg.dcm")
    if not report.name.endswith(".sr.dcm") or not seg.is_file():
        return None
    return seg if outgoing(seg).sop_class == LABELMAP_SEG else None


def same_object(sent: Path, back: Path) -> bool:
    """Whether two files hold one result; other fields may have been edited by the archive."""
    try:
        pair = (dataset_of(sent), dataset_of(back))
    except _UNREADABLE:
        return False
    is_transcoded = pair[0].file_meta.TransferSyntaxUID != pair[1].file_meta.TransferSyntaxUID
    for dataset in pair if is_transcoded else ():
        if "PixelData" in dataset and dataset.file_meta.TransferSyntaxUID.is_compressed:
            with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
                dataset.decompress(generate_instance_uid=False)
    return all(pair[0].get(keyword) == pair[1].get(keyword) for keyword in _SUBSTANCE)
