"""Every scan below a folder, found but not read: for work on many."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import ReadError
from medseg.reading._dicom_headers import find_images
from medseg.reading._dicom_stacks import Stack, stacks_of
from medseg.runtime.progress import Progress, silent

_SUFFIXES = (".nii.gz", ".gipl.gz", ".mha.gz", ".nii", ".nrrd", ".mha", ".mhd", ".gipl")


@dataclass(frozen=True)
class ScanSource:
    """A scan that was found and can be read with ``read_scan(path, series=series_uid or None)``.

    Parameters
    ----------
    path : Path
        A file, or the folder that holds the slices.
    series_uid : str
        Chooses the stack in a DICOM folder; empty for files of other formats.
    name : str
        For outputs: safe in a file name, unique among the scans found together, and free of
        anything but file and folder names.
    """

    path: Path
    series_uid: str
    name: str


def find_scans(folder: str | Path, *, progress: Progress = silent) -> list[ScanSource]:
    """Every NIfTI, NRRD, MetaImage and GIPL file and every DICOM stack below a folder.

    Stacks that will be refused when read (missing slices, mosaics) and damaged DICOM files are
    listed too, so that work on many can report them; pictures without a place are not.

    Parameters
    ----------
    folder : str or Path
        Searched at any depth; hidden files and folders are passed over.
    progress : Progress, optional
        Called after each file.

    Returns
    -------
    list of ScanSource
        Sorted by path, then by series.

    Raises
    ------
    ReadError
        When `folder` is not a folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReadError(f"'{root}' is not a folder; check the path", code="NOT_FOUND")
    images, faults = find_images(root, progress)
    stacks = [stack for stack in stacks_of(images) if not stack.is_picture]
    sources = [_of_stack(stack, stacks) for stack in stacks]
    sources += [ScanSource(path, "", "") for path in _image_files(root)]
    homes = {source.path for source in sources}
    sources += [ScanSource(path, "", "") for path in faults if homes.isdisjoint(path.parents)]
    return _named(sorted(sources, key=lambda one: (one.path, one.series_uid)), root)


def without_suffix(path: Path) -> str:
    """File name without .nii.gz or another ending of a known format."""
    name = path.name
    ending = next((end for end in _SUFFIXES if name.lower().endswith(end)), path.suffix)
    return name[: len(name) - len(ending)]


def _image_files(root: Path) -> list[Path]:
    """Files whose name says that they are an image volume, at any depth."""
    found = []
    for base, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        known = (name for name in names if name.lower().endswith(_SUFFIXES) and name[0] != ".")
        found += [Path(base, name) for name in known]
    return found


def _of_stack(stack: Stack, stacks: Iterable[Stack]) -> ScanSource:
    """The smallest folder that holds every file of the stack's series (or its only file)."""
    series = {path for one in stacks if one.series_uid == stack.series_uid for path in one.paths}
    parents = [str(path.parent) for path in series]
    return ScanSource(Path(os.path.commonpath(parents)), stack.selector, "")


def _named(sources: list[ScanSource], root: Path) -> list[ScanSource]:
    """Give each source the shortest name that no other has."""
    names = [_short(source, root) for source in sources]
    for longer in (_long, _hashed):
        shared = Counter(name.casefold() for name in names)
        names = [
            name if shared[name.casefold()] == 1 else longer(source, root)
            for name, source in zip(names, sources, strict=True)
        ]
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def _short(source: ScanSource, root: Path) -> str:
    """File stem, or the relative folder of a DICOM stack."""
    if source.path.is_dir():
        return _long(source, root)
    return _safe(without_suffix(source.path))


def _long(source: ScanSource, root: Path) -> str:
    """Relative path joined by underscores."""
    relative = source.path.relative_to(root)
    if source.path == root:
        return _safe(root.resolve().name)
    parts = relative.parts if source.path.is_dir() else relative.parent.parts
    stem = () if source.path.is_dir() else (without_suffix(source.path),)
    return _safe("_".join((*parts, *stem)))


def _hashed(source: ScanSource, root: Path) -> str:
    """Relative path and eight digits that stand for path and series."""
    key = f"{source.path.relative_to(root).as_posix()}|{source.series_uid}"
    return f"{_long(source, root)}_{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _safe(name: str) -> str:
    """`name` with every run of unusual characters turned into one underscore."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "scan"
