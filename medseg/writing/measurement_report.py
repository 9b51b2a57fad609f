"""DICOM SR of the volumes (TID 1500), which refers to the segments of the DICOM SEG."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg._version import __version__
from medseg.errors import WriteError
from medseg.volume import Code, Creator, Label, LabelMap
from medseg.writing._atomic import atomic
from medseg.writing._dicom_source import (
    coded_concept,
    common_charset,
    source_headers,
    stable_uid,
    values_as_they_are,
)
from medseg.writing._native_labels import NativeLabels, dicom_obstacle, on_native_slices
from medseg.writing._seg_uids import (
    creator_of,
    object_uids,
    resolve_encoding,
    seg_uids,
    segments_of,
    tracking_id,
    tracking_uid,
)

if TYPE_CHECKING:
    from pydicom import Dataset

suffixes = (".sr.dcm",)
encodings = ("binary", "labelmap", "auto")
obstacle = dicom_obstacle

_NAME = "medseg"
_LABEL_MAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"  # newer than pydicom's list of names
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_VOLUME = Code("118565006", "SCT", "Volume")
_MILLILITRE = Code("ml", "UCUM", "milliliter")


def write_labels(labels: LabelMap, path: Path, *, encoding: str = "binary") -> None:
    """Write the volume of every segment of the DICOM SEG of these labels.

    Parameters
    ----------
    labels : LabelMap
        Labels of a scan that was read from DICOM; the files must still be there.
    path : Path
    encoding : {"binary", "labelmap", "auto"}, default "binary"
        Of the DICOM SEG that is referred to; it is the one that the same labels are written to
        with this encoding, before or after.

    Raises
    ------
    WriteError
        When the labels do not come from DICOM, the source has blank UIDs or has changed, or the
        file does not read back equal; nothing is left behind.

    References
    ----------
    DICOM PS3.16, TID 1500 and TID 1411.
    """
    native = on_native_slices(labels)
    segments = segments_of(native)
    volumes = _volumes_ml(labels, segments)
    with values_as_they_are():
        encoding = resolve_encoding(encoding, segments)
        report = _report(native, segments, volumes, encoding)
        with atomic(path, suffix=".dcm") as temporary:
            report.save_as(temporary, enforce_file_format=True)
            _check(temporary, volumes)


def _volumes_ml(labels: LabelMap, segments: Sequence[Label]) -> list[float]:
    """Volume of each segment, to a hundred-thousandth of a millilitre."""
    ml_per_voxel = labels.grid.voxel_volume_mm3 / 1000.0
    counts = (np.count_nonzero(labels.values == label.value) for label in segments)
    return [round(float(count * ml_per_voxel), 5) for count in counts]


def _report(
    labels: NativeLabels, segments: Sequence[Label], volumes_ml: Sequence[float], encoding: str
) -> Any:
    """The SR object, not yet saved."""
    from highdicom.sr import Comprehensive3DSR, MeasurementReport

    headers = source_headers(labels)
    charset = common_charset(headers, (f"{segment.name}{segment.code}" for segment in segments))
    key = seg_uids(labels)
    seg = _seg_reference(headers[0], key, encoding)
    groups = [
        _group((number, label, volume), seg, key, creator_of(labels))
        for number, (label, volume) in enumerate(zip(segments, volumes_ml, strict=True), start=1)
    ]
    content = MeasurementReport(
        observation_context=_observer(),
        procedure_reported=coded_concept(_PROCEDURE),
        imaging_measurements=groups,
    )
    try:
        report = Comprehensive3DSR(
            evidence=[seg, *headers],
            content=content,
            series_instance_uid=stable_uid("report series", encoding, *key),
            series_number=302,
            sop_instance_uid=stable_uid("report", encoding, *key),
            instance_number=1,
            manufacturer=_NAME,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="Volumes",
        )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise WriteError(
            f"the source slices cannot be referred to by a DICOM SR ({type(error).__name__} in"
            " their headers); write .json instead",
            code="SOURCE_HEADERS",
        ) from error
    if charset:
        report.SpecificCharacterSet = charset
    return report


def _seg_reference(header: Dataset, key: tuple[str, ...], encoding: str) -> Dataset:
    """A header of the SEG that is referred to, as far as a reference needs one."""
    from pydicom.uid import SegmentationStorage

    seg = copy.deepcopy(header)
    seg.SOPClassUID = _LABEL_MAP_SEG if encoding == "labelmap" else SegmentationStorage
    seg.SOPInstanceUID, instance_series = object_uids(key, encoding)
    seg.ReferencedSeriesSequence = [_series(str(header.SeriesInstanceUID))]
    seg.SeriesInstanceUID = instance_series
    return seg


def _series(uid: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.SeriesInstanceUID = uid
    return item


def _group(
    segment: tuple[int, Label, float], seg: Dataset, key: tuple[str, ...], creator: Creator
) -> Any:
    """Measurements of one segment: its number, label and millilitres."""
    from highdicom.sr import (
        AlgorithmIdentification,
        Measurement,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    number, label, volume_ml = segment
    source = SourceSeriesForSegmentation(seg.ReferencedSeriesSequence[0].SeriesInstanceUID)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(tracking_uid(label, key), tracking_id(label)),
        referenced_segment=ReferencedSegment(
            seg.SOPClassUID, seg.SOPInstanceUID, number, source_series=source
        ),
        finding_category=coded_concept(label.property_category),
        finding_type=coded_concept(label.property_type),
        algorithm_id=None
        if creator.kind == "manual"
        else AlgorithmIdentification(name=creator.name, version=creator.version),
        measurements=[Measurement(coded_concept(_VOLUME), volume_ml, coded_concept(_MILLILITRE))],
    )


def _observer() -> Any:
    """The program, as the one that measured."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=stable_uid("device", __version__), name=_NAME, manufacturer_name=_NAME, model_name=_NAME
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _check(path: Path, volumes_ml: Sequence[float]) -> None:
    """Raise `WriteError` unless the file gives the volumes back."""
    from pydicom import dcmread

    stored = list(_numbers(dcmread(path)))
    if len(stored) != len(volumes_ml) or not np.allclose(stored, volumes_ml, rtol=0, atol=1e-5):
        raise WriteError(
            "the DICOM SR did not read back with equal volumes and was removed; write .json"
            " instead",
            code="SELF_CHECK",
        )


def _numbers(item: Dataset) -> Iterator[float]:
    """Every number in a content tree, in its order."""
    for child in item.get("ContentSequence") or []:
        for measured in child.get("MeasuredValueSequence") or []:
            yield float(measured.NumericValue)
        yield from _numbers(child)
