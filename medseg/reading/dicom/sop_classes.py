"""SOP classes that are told apart by name; pydicom is imported when the first file asks."""

from __future__ import annotations

import functools
from collections.abc import Mapping

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, which is newer than pydicom's list of names."""


@functools.cache
def label_storages() -> Mapping[str, str]:
    """``"SEG"`` or ``"RTSTRUCT"`` by the SOP class of objects that hold labels."""
    from pydicom import uid

    return {
        uid.SegmentationStorage: "SEG",
        LABEL_MAP_SEGMENTATION: "SEG",
        uid.RTStructureSetStorage: "RTSTRUCT",
    }


@functools.cache
def non_scans() -> Mapping[str, str]:
    """What an object is, by the SOP class of those that look like scans and are none."""
    from pydicom import uid

    return {
        uid.SegmentationStorage: "a DICOM segmentation",
        LABEL_MAP_SEGMENTATION: "a DICOM segmentation",
        uid.SurfaceSegmentationStorage: "a DICOM surface segmentation",
        uid.ParametricMapStorage: "a DICOM parametric map",
        uid.MRSpectroscopyStorage: "MR spectroscopy",
        uid.RTDoseStorage: "a radiotherapy dose",
        uid.RTStructureSetStorage: "a radiotherapy structure set",
    }
