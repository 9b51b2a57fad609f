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
    found = sources_below(Path(folder), pictures=False, progress=progress)
    return [source for source, _ in found]


def sources_below(
    root: Path, *, pictures: bool, progress: Progress
) -> list[tuple[ScanSource, Stack | ReadError | None]]:  # fmt: skip
    """Every scan below a folder, with what its headers gave.

    Parameters
    ----------
    root : Path
        Searched at any depth.
    pictures : bool
        Whether to list images without a place in the patient too.
    progress : Progress
        Called after each file.

    Returns
    -------
    list of (ScanSource, Stack or ReadError or None)
        Sorted by path, then by series; None for files of other formats, which are not opened.

    Raises
    ------
    ReadError
        When `root` is not a folder.
    """
    if not root.is_dir():
        raise ReadError(f"'{root}' is not a folder; check the path", code="NOT_FOUND")
    images, faults = find_images(root, progress)
    stacks = [one for one in stacks_of(images) if pictures or not one.is_picture]
    homes = _homes(stacks)
    found: list[tuple[ScanSource, Stack | ReadError | None]] = [
        (ScanSource(homes[stack.series_uid], stack.selector, ""), stack) for stack in stacks
    ]
    volumes = {source.path for source, what in found if not _is_picture(what)}
    found += [(ScanSource(path, "", ""), None) for path in _image_files(root)]
    found += [
        (ScanSource(path, "", ""), fault)
        for path, fault in faults.items()
        if volumes.isdisjoint(path.parents)
    ]
    found.sort(key=lambda one: (one[0].path, one[0].series_uid))
    names = _named([source for source, _ in found], root)
    return [(source, what) for source, (_, what) in zip(names, found, strict=True)]


def _is_picture(what: Stack | ReadError | None) -> bool:
    return isinstance(what, Stack) and what.is_picture


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


def _homes(stacks: Iterable[Stack]) -> dict[str, Path]:
    """For each series the smallest folder that holds all of its files (or its only file)."""
    folders: dict[str, set[str]] = {}
    for stack in stacks:
        parents = {str(path.parent) for path in stack.paths}
        folders.setdefault(stack.series_uid, set()).update(parents)
    return {uid: Path(os.path.commonpath(sorted(parents))) for uid, parents in folders.items()}


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
