"""The formats a label map can be saved in, what each needs, and why it cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from medseg.errors import GeometryError
from medseg.volume import LabelMap, Scan
from medseg.volume.conventions import itk_from_affine

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
    kind : {"labels", "dicom", "nrrd", "surface", "report", "screenshot"}
    each : bool
        Whether every structure gets a file of its own.
    """

    name: str
    title: str
    suffix: str
    kind: str = "labels"
    each: bool = False


FORMATS = {
    one.name: one
    for one in (
        Format("nifti", "NIfTI label map", ".nii.gz"),
        Format("seg_nrrd", "Segmentation for 3D Slicer", ".seg.nrrd", "nrrd"),
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
    """Why a label map cannot be saved in a format; empty when it can.

    Parameters
    ----------
    subject : Subject
        What is to be saved.
    form : Format

    Returns
    -------
    str
        A reason with what to do, in lower case, without a full stop.
    """
    reasons: dict[str, Callable[[Subject], str]] = {
        "dicom": _dicom_obstacle,
        "nrrd": _nrrd_obstacle,
        "surface": _surface_obstacle,
        "report": _report_obstacle,
    }
    judge = reasons.get(form.kind)
    return judge(subject) if judge else ""


def _dicom_obstacle(subject: Subject) -> str:
    source, native = subject.labels.provenance, subject.labels.provenance.native
    if source.format != "dicom":
        return (
            f"needs a DICOM series, and this scan came from {source.format}; open the DICOM"
            " folder with medseg, or save .nii.gz"
        )
    files, uids = (
        (native.files, native.instance_uids) if native else (source.files, source.instance_uids)
    )
    if not uids or not all(uids):
        return "the slices have blank SOPInstanceUIDs, so nothing can refer to them; save .nii.gz"
    if not subject.labels.table.labels:
        return "needs at least one structure"
    gone = [path for path in {files[0], files[-1]} if not path.is_file()]
    return "the DICOM slices are no longer where they were read" if gone else ""


def _nrrd_obstacle(subject: Subject) -> str:
    try:
        itk_from_affine(subject.labels.grid.affine)
    except GeometryError:
        return "the scan is sheared (a tilted gantry), which NRRD cannot say; save .nii.gz"
    return ""


def _surface_obstacle(subject: Subject) -> str:
    return "" if subject.labels.values.any() else "no voxel holds a structure"


def _report_obstacle(subject: Subject) -> str:
    if subject.scan is None:
        return "needs the scan under the labels; open it in this viewer"
    return _surface_obstacle(subject)
