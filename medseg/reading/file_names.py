"""Names of files without what only says their format."""

from __future__ import annotations

from pathlib import Path

LABEL_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".rtstruct.dcm", ".dcm")
"""What label maps are read from, the longest suffix first where two fit."""

_SUFFIXES = (
    *LABEL_SUFFIXES,
    *(".nhdr", ".mha.gz", ".mhd", ".gipl.gz", ".gipl", ".ima", ".zip"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff"),
)


def without_suffix(path: Path) -> str:
    """Name of a file or folder without the suffix of a known format.

    ``"a.nii.gz"`` gives ``"a"``; a UID keeps its last part, and so does any other unknown suffix.
    """
    name = path.name
    suffix = next((ending for ending in _SUFFIXES if name.lower().endswith(ending)), "")
    return name[: len(name) - len(suffix)]
