"""DICOM Segmentation on the native source slices, so that tilted series work and viewers agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg._version import __version__
from medseg.errors import WriteError
from medseg.volume import Creator, Label, LabelMap
from medseg.volume.conventions import dicom_from_affine, from_kji
from medseg.writing._atomic import atomic
from medseg.writing._dicom_source import (
    LONG_STRING,
    coded_concept,
    common_charset,
    source_headers,
    values_as_they_are,
)
from medseg.writing._native_labels import NativeLabels, dicom_obstacle, on_native_slices
from medseg.writing._seg_readback import check_segmentation
from medseg.writing._seg_uids import (
    WITH_EMPTY_FRAMES_BYTES,
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

suffixes = (".dcm",)
encodings = ("binary", "labelmap", "auto")
obstacle = dicom_obstacle

_NAME = "medseg"
_CARRIED = ", carried from a repaired volume"
_BYTE = 8  # one-bit pixels
_EVEN_MM = 0.01


def write_labels(labels: LabelMap, path: Path, *, encoding: str = "binary") -> None:
    """Write a DICOM SEG; one segment per label that the map holds.

    Parameters
    ----------
    labels : LabelMap
        Labels of a scan that was read from DICOM; the files must still be there. A map without
        any label gives segments without any voxel: a negative result is a result.
    path : Path
    encoding : {"binary", "labelmap", "auto"}, default "binary"
        One bit per voxel and segment, which every viewer and archive takes; or one number per
        voxel, compressed without loss, far smaller and read by programs of 2025 and later. "auto"
        is "labelmap" for more than eight segments.

    Raises
    ------
    WriteError
        When the labels do not come from DICOM, the source has blank UIDs or has changed, or the
        file does not read back equal; nothing is left behind.

    Notes
    -----
    Labels of a repaired scan are carried to the slices of the files: each pixel takes the voxel
    that holds it, see :meth:`medseg.volume.NativeSlices.sample_labels`. ContentDescription says so.

    All UIDs follow from the source series, the voxels and the names: writing the same result
    again gives the same object. Empty frames are written too, as older viewers need them, unless
    that would take more than 256 MiB.
    """
    native = on_native_slices(labels)
    segments = segments_of(native)
    encoding = resolve_encoding(encoding, segments)
    with values_as_they_are():
        dataset = _segmentation(native, segments, source_headers(native), encoding)
        with atomic(path, suffix=".dcm") as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
            check_segmentation(temporary, native, [label.value for label in segments])


def _segmentation(
    labels: NativeLabels, segments: Sequence[Label], headers: list[Dataset], encoding: str
) -> Any:
    """The SEG object, not yet saved."""
    from highdicom.seg import Segmentation

    key, creator = seg_uids(labels), creator_of(labels)
    instance_uid, series_uid = object_uids(key, encoding)
    charset = common_charset(headers, (f"{label.name}{label.code}" for label in segments))
    try:
        dataset = Segmentation(
            source_images=headers,
            pixel_array=_segment_numbers(labels, segments),
            segment_descriptions=[
                _segment_description(n, label, key, creator) for n, label in enumerate(segments, 1)
            ],
            series_instance_uid=series_uid,
            series_number=300,
            sop_instance_uid=instance_uid,
            instance_number=1,
            manufacturer=_NAME,
            manufacturer_model_name=_NAME,
            software_versions=__version__,
            device_serial_number="0",
            content_label="SEGMENTATION",
            content_description=f"{creator.kind.capitalize()} segmentation"
            + _CARRIED * labels.carried,
            series_description="Segmentation",
            **_encoding_options(encoding, labels.values.size * len(segments) // 8),
            **_planes(labels, headers),
        )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise WriteError(
            f"the source slices cannot be referred to by a DICOM SEG ({type(error).__name__} in"
            " their headers); write .nii.gz instead",
            code="SOURCE_HEADERS",
        ) from error
    _state_depth(dataset, labels)
    if charset:
        dataset.SpecificCharacterSet = charset
    if encoding == "labelmap":
        _compress(dataset)
    elif int(dataset.Rows) * int(dataset.Columns) < _BYTE:
        _pack_bits(dataset)
    return dataset


def _state_depth(dataset: Dataset, labels: NativeLabels) -> None:
    """SpacingBetweenSlices of an even stack, which frames left out as empty cannot tell.

    The library states it of slices that lie behind one another only, not of a tilted stack.
    """
    placements = [dicom_from_affine(grid.affine) for grid in labels.slices.grids]
    orientation, positions_mm = placements[0][0], np.array([each[2] for each in placements])
    normal = np.cross(orientation[:3], orientation[3:])
    depths_mm = np.abs(np.diff(positions_mm @ normal))
    if depths_mm.size and np.ptp(depths_mm) <= _EVEN_MM:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for measures in shared.get("PixelMeasuresSequence") or []:
            measures.SpacingBetweenSlices = f"{np.median(depths_mm):.10g}"


def _compress(dataset: Dataset) -> None:
    """Run-length encode the frames; GDCM's encoder ends the process at odd row lengths."""
    from pydicom.uid import RLELossless

    dataset.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)


def _pack_bits(dataset: Dataset) -> None:
    """Pack frames of less than a byte without gaps; highdicom 0.28 gives each a byte of its own.

    References
    ----------
    DICOM PS3.5 8.1.1.
    """
    frames = int(dataset.NumberOfFrames)
    padded = np.frombuffer(dataset.PixelData, np.uint8)[:frames, None]
    count = int(dataset.Rows) * int(dataset.Columns)
    bits = np.unpackbits(padded, axis=1, count=count, bitorder="little")
    packed = np.packbits(bits, bitorder="little").tobytes()
    dataset.PixelData = packed + bytes(len(packed) % 2)


def _encoding_options(encoding: str, binary_bytes: int) -> dict[str, Any]:
    """Segmentation type, and whether empty frames are left out."""
    from highdicom.seg import SegmentationTypeValues

    if encoding == "labelmap":
        return {"segmentation_type": SegmentationTypeValues.LABELMAP, "omit_empty_frames": False}
    return {
        "segmentation_type": SegmentationTypeValues.BINARY,
        "omit_empty_frames": binary_bytes > WITH_EMPTY_FRAMES_BYTES,
    }


def _segment_numbers(labels: NativeLabels, segments: Sequence[Label]) -> Any:
    """Segment numbers 1, 2, 3... in place of label values; shape (K, J, I)."""
    number_of_value = np.zeros(65536, np.uint8 if len(segments) < 256 else np.uint16)
    number_of_value[[label.value for label in segments]] = np.arange(1, len(segments) + 1)
    return np.ascontiguousarray(from_kji(number_of_value[labels.values]))


def _segment_description(number: int, label: Label, key: tuple[str, ...], creator: Creator) -> Any:
    """Segment description; the tracking ID keeps the label value, which segments do not have."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=number,
        segment_label=label.name[:LONG_STRING],
        segmented_property_category=coded_concept(label.property_category),
        segmented_property_type=coded_concept(label.property_type),
        algorithm_type=SegmentAlgorithmTypeValues(creator.kind.upper()),
        algorithm_identification=None
        if creator.kind == "manual"
        else AlgorithmIdentificationSequence(
            name=creator.name[:LONG_STRING],
            family=codes.cid7162.ArtificialIntelligence,
            version=creator.version[:LONG_STRING],
        ),
        tracking_uid=tracking_uid(label, key),
        tracking_id=tracking_id(label),
        display_color=CIELabColor.from_rgb(*label.color),
    )


def _planes(labels: NativeLabels, headers: list[Dataset]) -> dict[str, Any]:
    """Plane geometry of a multi-frame source; single slices lend theirs, word by word."""
    if (
        len(headers) == labels.values.shape[2]
        and "PerFrameFunctionalGroupsSequence" not in headers[0]
    ):
        return {}
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    placements = [dicom_from_affine(grid.affine) for grid in labels.slices.grids]
    orientation, spacing, _, step = placements[0]
    depth = float(np.linalg.norm(step))
    return {
        "plane_positions": [
            PlanePositionSequence("PATIENT", position) for _, _, position, _ in placements
        ],
        "plane_orientation": PlaneOrientationSequence("PATIENT", orientation),
        "pixel_measures": PixelMeasuresSequence(
            pixel_spacing=spacing, slice_thickness=depth, spacing_between_slices=depth
        ),
    }
