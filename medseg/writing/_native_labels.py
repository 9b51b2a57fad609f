"""Labels on the slices of the DICOM files that were labelled, which DICOM results refer to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from medseg.errors import WriteError
from medseg.volume import Creator, LabelMap, LabelTable, NativeSlices, Provenance, Scan
from medseg.writing.protocol import Obstacle


@dataclass(frozen=True, eq=False)
class NativeLabels:
    """Label values at the pixels of DICOM slices.

    Parameters
    ----------
    values : ndarray of unsigned int, shape (I, J, n)
        One native slice per last index.
    slices : NativeSlices
        Where each lies, its file and its SOPInstanceUID.
    table : LabelTable
    series_uid : str
        SeriesInstanceUID.
    carried : bool
        Whether the labels were made on other slices, those of a repaired scan.
    creator : Creator or None
        Who drew them; None stands for medseg itself.
    """

    values: npt.NDArray[Any]
    slices: NativeSlices
    table: LabelTable
    series_uid: str
    carried: bool = False
    creator: Creator | None = None


def dicom_obstacle(subject: Scan | LabelMap) -> Obstacle | None:
    """Why no DICOM result can refer to the files of a scan; None when one can.

    Parameters
    ----------
    subject : Scan or LabelMap
        A scan whose labels are to be written, or the labels.
    """
    source = subject.provenance
    count = len(source.native.grids) if source.native else subject.grid.shape[2]
    files, uids = _files(source)
    zipped = len(files) == 1 and files[0].suffix.lower() == ".zip"
    if source.format == "dicom" and zipped:
        return Obstacle(
            "NO_DICOM_SOURCE",
            "needs the files of a DICOM series, and this scan lies in a zip archive; unpack it, or"
            " write .nii.gz instead",
        )
    if source.format != "dicom" or len(files) != count:
        return Obstacle(
            "NO_DICOM_SOURCE",
            f"needs a DICOM series, and this scan came from {source.format}; give the DICOM folder,"
            " or write .nii.gz instead",
        )
    if not source.laterality_known:
        return Obstacle(
            "NO_DICOM_SOURCE",
            "needs slices with a position in the patient, and this is a 2-D image without one;"
            " write .nii.gz instead",
        )
    if len(uids) != count or not all(uids):
        return Obstacle(
            "BLANK_UIDS",
            "cannot refer to the slices, which have blank SOPInstanceUIDs; write .nii.gz instead",
        )
    return None


def _files(source: Provenance) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """File and SOPInstanceUID of each native slice."""
    slices = source.native or source
    return slices.files, slices.instance_uids


def on_native_slices(labels: LabelMap) -> NativeLabels:
    """Labels where their files have pixels; those of a repaired scan are carried there.

    Raises
    ------
    WriteError
        When the labels do not come from DICOM, or the source has blank UIDs.
    """
    source, native = labels.provenance, labels.provenance.native
    obstacle = dicom_obstacle(labels)
    if obstacle:
        raise WriteError(f"a DICOM result {obstacle.reason}", code=obstacle.code)
    slices = native or NativeSlices.of(labels.grid, source.files, source.instance_uids)
    values = native.sample_labels(labels.values, labels.grid) if native else labels.values
    return NativeLabels(
        values, slices, labels.table, source.series_uid, native is not None, labels.creator
    )
