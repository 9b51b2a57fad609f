"""What peers offer, and results as peers know them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.headers import as_text
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.validate import series_name

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LONGEST_UID = 64

BINARY_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP class of a DICOM SEG with one bit per voxel and segment."""

LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
"""SOP class of a DICOM SEG with one number per voxel."""

RESULT_CLASSES = {
    BINARY_SEG: "a DICOM SEG",
    LABELMAP_SEG: "a label-map DICOM SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "an RT Structure Set",
    "1.2.840.10008.5.1.4.1.1.88.34": "a DICOM SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "a DICOM SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "a DICOM SR",
}
"""SOP classes of what may be sent, in words."""


@dataclass(frozen=True, kw_only=True)
class RemoteSeries:
    """A series that a peer has.

    Parameters
    ----------
    study_uid, series_uid : str
        Valid UIDs.
    objects : int or None
        How many objects the peer counts in it.
    modality : str
    """

    study_uid: str
    series_uid: str
    objects: int | None
    modality: str = ""

    @property
    def name(self) -> str:
        """Name of the series in the spool."""
        return series_name(self.study_uid, self.series_uid)


@dataclass(frozen=True, kw_only=True)
class OutgoingObject:
    """A result as a peer will know it.

    Parameters
    ----------
    path : Path
    sop_class, syntax : str
        UIDs of its class and transfer syntax.
    study_uid, series_uid, sop_uid : str
    source : str
        Name in the spool of the series that was segmented; empty when it does not say.
    """

    path: Path
    sop_class: str
    syntax: str
    study_uid: str
    series_uid: str
    sop_uid: str
    source: str = ""

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return RESULT_CLASSES[self.sop_class]


def checked_uid(text: object, peer: str) -> str:
    """A UID of a peer's answer, which may become part of a question to it.

    Raises
    ------
    PeerError
        When it is no UID.
    """
    uid = str(text)
    if not _UID.fullmatch(uid) or len(uid) > _LONGEST_UID:
        raise PeerError(
            f"the peer '{peer}' names an object by something that is no UID; nothing of that"
            " series was fetched",
            code="ANSWER",
        )
    return uid


def sendable(path: Path) -> OutgoingObject:
    """Look at a result.

    Parameters
    ----------
    path : Path
        A DICOM SEG, SR or RT Structure Set.

    Raises
    ------
    InputError
        When it is another file.
    """
    header = _header(path)
    sop_class = as_text(header, "SOPClassUID")
    if sop_class not in RESULT_CLASSES:
        raise InputError(
            f"'{path.name}' is no DICOM SEG, SR or RT Structure Set, which is what can be sent;"
            " give such a file"
        )
    study = as_text(header, "StudyInstanceUID")
    return OutgoingObject(
        path=path,
        sop_class=sop_class,
        syntax=as_text(header.file_meta, "TransferSyntaxUID"),
        study_uid=study,
        series_uid=as_text(header, "SeriesInstanceUID"),
        sop_uid=as_text(header, "SOPInstanceUID"),
        source=_source(header, study),
    )


def _header(path: Path) -> Any:
    from pydicom.errors import InvalidDicomError

    try:
        return dataset_of(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError, ValueError, EOFError) as error:
        raise InputError(f"'{path.name}' is no DICOM file; give a DICOM SEG or SR") from error


def _source(header: Any, study: str) -> str:
    """The series that a SEG refers to, which is of its own study."""
    for item in header.get("ReferencedSeriesSequence") or []:
        return series_name(study, as_text(item, "SeriesInstanceUID"))
    return ""
