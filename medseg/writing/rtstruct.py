"""DICOM RT Structure Set: closed contours on the native source slices, as planning systems read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg._version import __version__
from medseg.volume import Label, LabelMap
from medseg.volume.conventions import flip_lps_ras_points
from medseg.writing._atomic import atomic
from medseg.writing._contours import Ring, outlines
from medseg.writing._dicom_source import (
    LONG_STRING,
    common_charset,
    source_headers,
    stable_uid,
    values_as_they_are,
)
from medseg.writing._native_labels import NativeLabels, dicom_obstacle, on_native_slices
from medseg.writing._rtstruct_readback import check_structures
from medseg.writing._seg_uids import creator_of, seg_uids

if TYPE_CHECKING:
    from pydicom import Dataset

suffixes = (".rtstruct.dcm",)
obstacle = dicom_obstacle

_NAME = "medseg"
_STUDY = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management (retired): pydicom has no name
_REPEATED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write a structure set; one ROI per label of the table, empty ones included.

    The form is that of :class:`medseg.writing.protocol.LabelWriter`. The labels are those of a
    scan that was read from DICOM, and its files must still be there and be the same.

    Notes
    -----
    Contours are CLOSED_PLANAR and lie on the source slices, also of tilted and oblique series;
    labels of a repaired scan are carried there as :mod:`medseg.writing.dicom_seg` does. A hole is
    part of the contour around it, by a keyhole. Every pixel centre of a structure lies inside its
    contours and every other outside, so that nothing is lost; the outlined area is a little less
    than the pixels' at convex corners. ROINumber is the label's value.
    """
    native = on_native_slices(labels)
    with values_as_they_are():
        dataset = _structure_set(native, source_headers(native))
        with atomic(path, suffix=".dcm") as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
            check_structures(temporary, native)


def _structure_set(labels: NativeLabels, headers: list[Dataset]) -> Dataset:
    """The whole object, not yet saved."""
    charset = common_charset(headers, (f"{label.name}{label.code}" for label in labels.table))
    dataset, source, now = _template(), headers[0], dt.datetime.now().astimezone()
    for keyword in _REPEATED:
        setattr(dataset, keyword, source.get(keyword))
    if charset:
        dataset.SpecificCharacterSet = charset
    key = seg_uids(labels)
    dataset.SOPInstanceUID = stable_uid("structure set", *key)
    dataset.SeriesInstanceUID = stable_uid("structure set series", *key)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceCreationDate = dataset.StructureSetDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.StructureSetTime = now.strftime("%H%M%S")
    dataset.FrameOfReferenceUID = source.FrameOfReferenceUID
    dataset.PositionReferenceIndicator = ""
    if labels.carried:
        dataset.StructureSetDescription = "Carried from a repaired volume to the source slices"
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(headers)]
    frame_uid = str(source.FrameOfReferenceUID)
    images = _references(labels, headers)
    kind = creator_of(labels).kind
    dataset.StructureSetName = f"{kind.capitalize()} segmentation"
    dataset.StructureSetROISequence = [_region(label, frame_uid, kind) for label in labels.table]
    dataset.ROIContourSequence = [_contours(labels, label, images) for label in labels.table]
    dataset.RTROIObservationsSequence = [
        _observation(number, label) for number, label in enumerate(labels.table, start=1)
    ]
    return dataset


def _template() -> Dataset:
    """What is the same in every structure set; implicit VR, as contours may exceed 64 kB."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

    dataset = _item(
        SOPClassUID=RTStructureSetStorage,
        Modality="RTSTRUCT",
        Manufacturer=_NAME,
        ManufacturerModelName=_NAME,
        SoftwareVersions=__version__,
        DeviceSerialNumber="0",
        SeriesDescription="Structures",
        SeriesNumber=301,
        InstanceNumber=1,
        OperatorsName="",
        StructureSetLabel="SEGMENTATION",
        ApprovalStatus="UNAPPROVED",
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _referenced_frame(headers: list[Dataset]) -> Dataset:
    """Frame of reference, study, series and images that the contours lie in."""
    source = headers[0]
    series = _item(
        SeriesInstanceUID=source.SeriesInstanceUID,
        ContourImageSequence=[_reference(header) for header in headers],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=source.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=source.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _references(labels: NativeLabels, headers: list[Dataset]) -> list[Dataset] | None:
    """The image of each slice; None for a multi-frame file, whose frames need no naming."""
    if len(headers) != labels.values.shape[2] or "PerFrameFunctionalGroupsSequence" in headers[0]:
        return None
    return [_reference(header) for header in headers]


def _reference(header: Dataset) -> Dataset:
    return _item(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
    )


def _region(label: Label, frame_uid: str, kind: str) -> Dataset:
    return _item(
        ROINumber=label.value,
        ReferencedFrameOfReferenceUID=frame_uid,
        ROIName=label.name.replace("\\", "/")[:LONG_STRING],
        ROIGenerationAlgorithm=kind.upper(),
    )


def _observation(number: int, label: Label) -> Dataset:
    """What the region is: its code, when it has one."""
    item = _item(
        ObservationNumber=number,
        ReferencedROINumber=label.value,
        RTROIInterpretedType="",
        ROIInterpreter="",
    )
    if label.code:
        code = _item(
            CodeValue=label.code.value,
            CodingSchemeDesignator=label.code.scheme,
            CodeMeaning=label.code.meaning[:LONG_STRING],
        )
        item.RTROIIdentificationCodeSequence = [code]
    return item


def _contours(labels: NativeLabels, label: Label, images: list[Dataset] | None) -> Dataset:
    """The region's colour and contours; without contours when no voxel holds the label."""
    item = _item(ReferencedROINumber=label.value, ROIDisplayColor=list(label.color))
    contours = list(_planar(labels, label.value, images))
    if contours:
        item.ContourSequence = contours
    return item


def _planar(labels: NativeLabels, value: int, images: list[Dataset] | None) -> Iterator[Dataset]:
    for number, (k, ring) in enumerate(outlines(labels, value), start=1):
        index = np.pad(ring, ((0, 0), (0, 1)))
        points = flip_lps_ras_points(labels.slices.grids[k].to_world(index))
        item = _item(
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(points),
            ContourNumber=number,
        )
        if images is not None:
            item.ContourImageSequence = [images[k]]
        item[0x30060050] = _contour_data(points)
        yield item


def _contour_data(points_mm: Ring) -> Any:
    """Contour Data, in hundredths of a micrometre; decimal strings hold 16 characters at most."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    rounded = np.round(points_mm, 5).ravel() + 0.0
    text = "\\".join(f"{mm:.10g}" for mm in rounded).encode("ascii")
    text += b" " * (len(text) % 2)
    return RawDataElement(
        Tag(0x30060050), "DS", len(text), text, 0, is_implicit_VR=True, is_little_endian=True
    )


def _item(**fields: Any) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    for keyword, value in fields.items():
        setattr(item, keyword, value)
    return item
