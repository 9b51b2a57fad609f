"""The formats a label map can be saved in, what each needs, and why it cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medseg import writing
from medseg.volume import LabelMap, Scan

NOT_FOR_DIAGNOSIS = "Research use only: not for diagnosis."


@dataclass(frozen=True, eq=False)
class Subject:
    """What is to be saved, as it was at one moment.

    Parameters
    ----------
    labels : LabelMap
    scan : Scan or None
        The intensities under the labels, for key images.
    window : tuple of float or None
        Black and white level of key images.
    facts : mapping of str to str
        How the labels came about, for the report.
    screenshot : bytes
        A PNG of the canvas; empty when none was asked for.
    """

    labels: LabelMap
    scan: Scan | None = None
    window: tuple[float, float] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    screenshot: bytes = b""


@dataclass(frozen=True)
class Format:
    """One way to save a label map.

    Parameters
    ----------
    name : str
    title : str
    suffix : str
    kind : {"labels", "dicom", "surface", "report", "screenshot"}
    each : bool
        Whether every structure gets a file of its own.
    """

    name: str
    title: str
    suffix: str
    kind: str = "labels"
    each: bool = False


_CLAIM_ORIENTATION = (".dcm", ".nrrd", ".mha", ".mhd", ".zarr")
FORMATS = {
    form.name: form
    for form in (
        Format("nifti", "NIfTI label map", ".nii.gz"),
        Format("seg_nrrd", "Segmentation for 3D Slicer", ".seg.nrrd"),
        Format("dicom_seg", "DICOM SEG", ".dcm", "dicom"),
        Format("rtstruct", "DICOM RTSTRUCT", ".rtstruct.dcm", "dicom"),
        Format("sr", "DICOM SR with the volumes", ".sr.dcm", "dicom"),
        Format("csv", "Volumes as CSV", ".csv"),
        Format("stl", "STL surfaces, one for each structure", ".stl", "surface", each=True),
        Format("ply", "PLY surfaces with colours", ".ply", "surface"),
        Format("obj", "OBJ surfaces with names", ".obj", "surface"),
        Format("html", "Report with key images (HTML)", ".report.html", "report"),
        Format("pdf", "Report with key images (PDF)", ".report.pdf", "report"),
        Format("png", "Picture of the canvas (PNG)", ".png", "screenshot"),
    )
}
"""The formats by name, in the order a person reads them."""


def obstacle(subject: Subject, form: Format) -> str:
    """Why a label map cannot be saved in a format; empty when it can."""
    reason = orientation_obstacle(subject.labels, form.suffix)
    if reason:
        return reason
    if form.kind == "report":
        return _report_obstacle(subject)
    if form.kind == "surface":
        return _surface_obstacle(subject)
    return "" if form.kind == "screenshot" else _file_obstacle(subject, form)


def orientation_obstacle(labels: LabelMap, suffix: str) -> str:
    """Why a file of this kind would claim to know left and right; empty when it would not."""
    source = labels.provenance
    may_claim = source.laterality_known or not source.has_physical_size
    if may_claim or not suffix.lower().endswith(_CLAIM_ORIENTATION):
        return ""
    return (
        "says where the patient's left is, which nobody knows of these labels; write .nii.gz,"
        " which can leave it open, or open the scan with medseg and draw on that"
    )


def _file_obstacle(subject: Subject, form: Format) -> str:
    """Why the library could not write the file."""
    limit = writing.obstacle(subject.labels, f"labels{form.suffix}")
    if limit:
        return limit.reason
    if form.kind != "dicom":
        return ""
    if not subject.labels.table.labels:
        return "needs at least one structure"
    source = subject.labels.provenance.native or subject.labels.provenance
    gone = [path for path in {source.files[0], source.files[-1]} if not path.is_file()]
    return "the DICOM slices are no longer where they were read" if gone else ""


def _surface_obstacle(subject: Subject) -> str:
    return "" if subject.labels.values.any() else "no voxel holds a structure"


def _report_obstacle(subject: Subject) -> str:
    if subject.scan is None:
        return "needs the scan under the labels; open it in this viewer"
    return _surface_obstacle(subject)
