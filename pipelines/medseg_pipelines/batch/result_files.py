"""What the files of a result are called.

Results have a folder of their own, or lie beside those of others: a place that ends in ``.*``, such
as ``sub/case_007.*``, is of files that are called so, ``case_007.nii.gz`` the label map.
"""

from __future__ import annotations

FILES = {
    "nifti": "labels.nii.gz",
    "nrrd": "labels.seg.nrrd",
    "dicom-seg": "seg.dcm",
    "rtstruct": "labels.rtstruct.dcm",
    "sr": "measurements.sr.dcm",
    "preview": "preview.png",
    "probabilities": "probabilities.nii.gz",
}
"""Name of the file of each format."""

THUMBNAIL = "thumbnail.png"
"""A small picture that every case has."""

CASE_FILE = "case.json"
"""What a result was made of; the last file to be written."""

BESIDE = ".*"
"""End of a place of results that lie beside those of others."""


def own_name(name: str, stem: str) -> str:
    """What a file of results is called where it lies beside those of others."""
    return f"{stem}.{name.removeprefix('labels.')}"
