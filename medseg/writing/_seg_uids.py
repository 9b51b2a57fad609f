"""What a DICOM SEG of a label map is called: objects that refer to it compute the same names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medseg._version import __version__
from medseg.errors import WriteError
from medseg.volume import Creator, Label
from medseg.volume.label_map import present_values
from medseg.writing._dicom_source import stable_uid
from medseg.writing._native_labels import NativeLabels

WITH_EMPTY_FRAMES_BYTES = 1 << 28
"""Empty frames of a binary SEG are left out above this size."""

_MOST_BINARY_SEGMENTS = 8  # of "auto"; above it a binary SEG grows into hundreds of megabytes


def segments_of(labels: NativeLabels) -> list[Label]:
    """Labels that some voxel holds; of a map without any, those of the table that fit.

    Raises
    ------
    WriteError
        When the table is empty.
    """
    present = set(present_values(labels.values))
    present_labels = [label for label in labels.table if label.value in present]
    if present_labels:
        return present_labels
    if not labels.table.labels:
        raise WriteError("a DICOM SEG needs at least one label in the table; name one")
    limit = max(1, WITH_EMPTY_FRAMES_BYTES * 8 // labels.values.size)
    return list(labels.table)[:limit]


def resolve_encoding(encoding: str, segments: Sequence[Label]) -> str:
    """Binary or labelmap; "auto" goes by the number of segments."""
    if encoding != "auto":
        return encoding
    return "labelmap" if len(segments) > _MOST_BINARY_SEGMENTS else "binary"


def seg_uids(labels: NativeLabels) -> tuple[str, ...]:
    """What makes two results the same: source slices, voxels, names, and who drew them."""
    voxels = hashlib.sha256(np.ascontiguousarray(labels.values).data).hexdigest()
    creator = (str(labels.creator),) if labels.creator else ()
    return (
        labels.series_uid,
        *labels.slices.instance_uids,
        voxels,
        *map(str, labels.table),
        *creator,
    )


def object_uids(key: Sequence[str], encoding: str) -> tuple[str, str]:
    """SOPInstanceUID and SeriesInstanceUID of the SEG with this identity."""
    return stable_uid("instance", encoding, *key), stable_uid("series", encoding, *key)


def creator_of(labels: NativeLabels) -> Creator:
    """Who drew the labels; medseg when the map does not say."""
    creator = labels.creator or Creator()
    return creator if creator.version else replace(creator, version=__version__)


def tracking_uid(label: Label, key: Sequence[str]) -> str:
    """Tracking UID of a segment."""
    return stable_uid("tracking", *key, label.name)


def tracking_id(label: Label) -> str:
    """Tracking ID of a segment; it keeps the label's value, which segments do not have."""
    return f"medseg label {label.value}"
