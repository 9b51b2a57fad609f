"""DICOM Segmentation on the native source slices, so that tilted series work and viewers agree."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg import __version__
from medseg.errors import WriteError
from medseg.volume import Code, Label, LabelMap
from medseg.volume.conventions import dicom_from_affine, from_kji
from medseg.volume.label_map import present_values
from medseg.writing._atomic import atomic
from medseg.writing._dicom_source import source_headers, stable_uid
from medseg.writing._seg_readback import check_segmentation

if TYPE_CHECKING:
    from pydicom import Dataset

suffixes = (".dcm",)

_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
_TISSUE = Code("85756007", "SCT", "Tissue")
_NAME = "medseg"
_LONG_STRING = 64  # characters in DICOM's value representation LO
_WITH_EMPTY_FRAMES_BYTES = 1 << 28


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write a binary DICOM SEG; one segment per label that the map holds.

    Parameters
    ----------
    labels : LabelMap
        Labels of a scan that was read from DICOM; the files must still be there. A map without
        any label gives segments without any voxel: a negative result is a result.
    path : Path
        Ends in .dcm.

    Raises
    ------
    WriteError
        When the labels do not come from DICOM, the source has blank UIDs or has changed, or the
        file does not read back equal; nothing is left behind.

    Notes
    -----
    All UIDs follow from the source series, the voxels and the names: writing the same result
    again gives the same object. Empty frames are written too, as older viewers need them, unless
    that would take more than 256 MiB.
    """
    segments = _segments(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' warnings quote patient names
        dataset = _segmentation(labels, segments, source_headers(labels))
        with atomic(path, suffix=".dcm") as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
            check_segmentation(temporary, labels, [label.value for label in segments])


def _segments(labels: LabelMap) -> list[Label]:
    """Labels that some voxel holds; of a map without any, those of the table that fit."""
    present = set(present_values(labels.values))
    held = [label for label in labels.table if label.value in present]
    if held:
        return held
    if not labels.table.labels:
        raise WriteError("a DICOM SEG needs at least one label in the table; name one")
    most = max(1, _WITH_EMPTY_FRAMES_BYTES * 8 // labels.values.size)
    return list(labels.table)[:most]


def _segmentation(labels: LabelMap, segments: Sequence[Label], headers: list[Dataset]) -> Any:
    """The SEG object, not yet saved."""
    from highdicom.seg import Segmentation, SegmentationTypeValues

    key = _key(labels)
    charset = _common_charset(headers, segments)
    try:
        dataset = Segmentation(
            source_images=headers,
            pixel_array=_numbered(labels, segments),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_described(n, one, key) for n, one in enumerate(segments, 1)],
            series_instance_uid=stable_uid("series", *key),
            series_number=300,
            sop_instance_uid=stable_uid("instance", *key),
            instance_number=1,
            manufacturer=_NAME,
            manufacturer_model_name=_NAME,
            software_versions=__version__,
            device_serial_number="0",
            content_label="SEGMENTATION",
            content_description="Automatic segmentation",
            series_description="Segmentation",
            omit_empty_frames=labels.values.size * len(segments) // 8 > _WITH_EMPTY_FRAMES_BYTES,
            **_planes(labels, headers),
        )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise WriteError(
            f"the source slices cannot be referred to by a DICOM SEG ({type(error).__name__} in"
            " their headers); write .nii.gz instead",
            code="SOURCE_HEADERS",
        ) from error
    if charset:
        dataset.SpecificCharacterSet = charset
    return dataset


def _key(labels: LabelMap) -> tuple[str, ...]:
    """What makes two results the same: source slices, voxels, names."""
    source = labels.provenance
    voxels = hashlib.sha256(np.ascontiguousarray(labels.values).data).hexdigest()
    return (source.series_uid, *source.instance_uids, voxels, *map(str, labels.table))


def _numbered(labels: LabelMap, segments: Sequence[Label]) -> Any:
    """Segment numbers 1, 2, 3... in place of label values; shape (K, J, I)."""
    number_of_value = np.zeros(65536, np.uint8 if len(segments) < 256 else np.uint16)
    number_of_value[[label.value for label in segments]] = np.arange(1, len(segments) + 1)
    return np.ascontiguousarray(from_kji(number_of_value[labels.values]))


def _described(number: int, label: Label, key: tuple[str, ...]) -> Any:
    """Segment description; the tracking ID keeps the label value, which segments do not have."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=number,
        segment_label=label.name[:_LONG_STRING],
        segmented_property_category=_coded(_STRUCTURE if label.code else _TISSUE),
        segmented_property_type=_coded(label.code or _TISSUE),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=_NAME, family=codes.cid7162.ArtificialIntelligence, version=__version__
        ),
        tracking_uid=stable_uid("tracking", *key, label.name),
        tracking_id=f"{_NAME} label {label.value}",
        display_color=CIELabColor.from_rgb(*label.color),
    )


def _coded(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning[:_LONG_STRING])


def _planes(labels: LabelMap, headers: list[Dataset]) -> dict[str, Any]:
    """Plane geometry of a multi-frame source; single slices lend theirs, word by word."""
    if (
        len(headers) == labels.grid.shape[2]
        and "PerFrameFunctionalGroupsSequence" not in headers[0]
    ):
        return {}
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    orientation, spacing, first, step = dicom_from_affine(labels.grid.affine)
    depth = float(np.linalg.norm(step))
    return {
        "plane_positions": [
            PlanePositionSequence("PATIENT", first + k * step) for k in range(labels.grid.shape[2])
        ],
        "plane_orientation": PlaneOrientationSequence("PATIENT", orientation),
        "pixel_measures": PixelMeasuresSequence(
            pixel_spacing=spacing, slice_thickness=depth, spacing_between_slices=depth
        ),
    }


def _common_charset(headers: list[Dataset], segments: Sequence[Label]) -> Any:
    """The source's character set; UTF-8 for all of it when a name needs that, or the library."""
    stated = headers[0].get("SpecificCharacterSet")
    several = stated is not None and not isinstance(stated, str) and not all(stated)
    if several or not all(f"{label.name}{label.code}".isascii() for label in segments):
        for header in headers:
            header.decode()
            header.SpecificCharacterSet = "ISO_IR 192"
    return headers[0].get("SpecificCharacterSet")
