"""Names of files that hold scans and label maps: endings, capitals, hidden files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from medseg.errors import InputError

SEGMENTS = ".seg.nrrd"
SCAN_ENDINGS = (
    *(".nii.gz", ".gipl.gz", ".mha.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl"),
)
"""Of files that are listed as scans without being opened."""
VOXEL_ENDINGS = (".raw", ".raw.gz", ".zraw")
"""Of files that hold the voxels of a header (.mhd, .nhdr) beside them."""
VOLUMES = (SEGMENTS, *SCAN_ENDINGS, ".rtstruct.dcm", ".dcm")
"""The longest ending first where two fit."""
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Taken only where no label map is a volume: beside volumes they are previews."""


def visible(folder: Path) -> list[Path]:
    """Files and folders of a folder that are not hidden, by name."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def is_segments(path: Path) -> bool:
    """Whether it is called as 3D Slicer calls segmentations."""
    return path.name.lower().endswith(SEGMENTS)


def stem_of(path: Path, endings: tuple[str, ...] = VOLUMES + PICTURES) -> str:
    """A file's name without its ending, whatever the capitals of that; "" for other endings."""
    ending = next((end for end in endings if path.name.lower().endswith(end)), "")
    return composed(path.name[: -len(ending)]) if ending else ""


def composed(name: str) -> str:
    """A name with each letter and its accent as one; macOS and its archives write them as two."""
    return unicodedata.normalize("NFC", name)


def by_name(paths: Iterable[Path], endings: tuple[str, ...]) -> dict[str, Path]:
    """Files by their name without ending, and folders by their whole name.

    Raises
    ------
    InputError
        When two would be one case.
    """
    files: dict[str, Path] = {}
    for path in paths:
        name = composed(path.name) if path.is_dir() else stem_of(path, endings)
        if not name:
            continue
        if name in files:
            raise two_files(files[name], path)
        files[name] = path
    return files


def two_files(first: Path, second: Path) -> InputError:
    """The refusal of two files of one case."""
    return InputError(
        f"'{first.name}' and '{second.name}' in '{second.parent}' would be one case; keep one of"
        " them",
        code="TWO_FILES",
    )
