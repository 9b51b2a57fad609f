"""Files that are label maps of scans, as far as their name and their place tell."""

from __future__ import annotations

from pathlib import Path

SEGMENTS = ".seg.nrrd"
FOLDERS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"), ("images", "labels"))
"""Names of a folder of scans and of the folder of their label maps beside it."""


def is_label_map(path: Path) -> bool:
    """Whether a file is no scan but a label map of one, as far as its name and place tell."""
    beside = next((images for images, labels in FOLDERS if path.parent.name == labels), "")
    return is_segments(path) or (bool(beside) and (path.parent.parent / beside).is_dir())


def is_segments(path: Path) -> bool:
    """Whether it is a segmentation as 3D Slicer writes it."""
    return path.name.lower().endswith(SEGMENTS)
