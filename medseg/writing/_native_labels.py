"""Labels on the slices of the DICOM files that were labelled, which DICOM results refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from medseg.errors import WriteError
from medseg.volume import Creator, LabelMap, LabelTable, NativeSlices


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


def on_native_slices(labels: LabelMap) -> NativeLabels:
    """Labels where their files have pixels; those of a repaired scan are carried there.

    Parameters
    ----------
    labels : LabelMap
        Its provenance names the slices.

    Raises
    ------
    WriteError
        When the labels do not come from DICOM, or the source has blank UIDs.
    """
    source, native = labels.provenance, labels.provenance.native
    slices = native or NativeSlices.of(labels.grid, source.files, source.instance_uids)
    count = len(slices.grids)
    if source.format != "dicom" or len(slices.files) != count:
        raise WriteError(
            "a DICOM result needs labels of a scan read from DICOM, these come from"
            f" '{source.format}'; write .nii.gz instead",
            code="NO_DICOM_SOURCE",
        )
    if len(slices.instance_uids) != count or not all(slices.instance_uids):
        raise WriteError(
            "the source has blank SOPInstanceUIDs, so a DICOM result could not refer to its slices;"
            " write .nii.gz instead",
            code="BLANK_UIDS",
        )
    values = native.sample_labels(labels.values, labels.grid) if native else labels.values
    return NativeLabels(
        values, slices, labels.table, source.series_uid, native is not None, labels.creator
    )
