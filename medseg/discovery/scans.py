"""Every scan below a folder, found but not read: for work on many."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from medseg.errors import InputError, ReadError
from medseg.reading import picture, zip_archive
from medseg.reading.dicom.headers import find_images
from medseg.reading.dicom.series import list_stacks
from medseg.reading.dicom.stacks import Stack, stacks_of
from medseg.reading.file_names import without_suffix
from medseg.runtime.progress import Progress, silent

SCAN_ENDINGS = (".nii.gz", ".gipl.gz", ".mha.gz", ".nii", ".nrrd", ".mha", ".mhd", ".gipl")
"""Of files that are listed as scans without being opened."""


@dataclass(frozen=True)
class ScanSource:
    """A scan that was found and can be read with ``read_scan(path, series=series_uid or None)``.

    Parameters
    ----------
    path : Path
        A file, or the folder that holds the slices.
    series_uid : str
        Chooses the stack in a DICOM folder or a zip archive; empty for files of other formats.
    name : str
        For outputs: safe in a file name, unique among the scans found together, and free of
        anything but file and folder names.
    """

    path: Path
    series_uid: str
    name: str


Seen = TypeVar("Seen")
Found: TypeAlias = tuple[ScanSource, Seen | InputError | None]


@dataclass(frozen=True)
class Survey:
    """What a search found.

    Parameters
    ----------
    scans : tuple of ScanSource
        Sorted by path, then by series.
    skipped : tuple of Path
        Pictures that were not asked for, and zip archives without DICOM.
    """

    scans: tuple[ScanSource, ...]
    skipped: tuple[Path, ...]


def find_scans(
    folder: str | Path, *, pictures: bool = False, progress: Progress = silent
) -> list[ScanSource]:
    """Every NIfTI, NRRD, MetaImage and GIPL file and every DICOM stack below a folder.

    Stacks that will be refused when read (missing slices, mosaics) and damaged DICOM files are
    listed too, so that work on many can report them.

    Parameters
    ----------
    folder : str or Path
        Searched at any depth, in zip archives of DICOM too; or one such archive. Hidden files and
        folders are passed over.
    pictures : bool, default False
        Whether to list PNG, JPEG and TIFF files, and DICOM images without a place, too.
    progress : Progress, optional

    Returns
    -------
    list of ScanSource
        Sorted by path, then by series.

    Raises
    ------
    ReadError
        When `folder` is neither a folder nor a zip archive.
    """
    return list(survey(folder, pictures=pictures, progress=progress).scans)


def survey(folder: str | Path, *, pictures: bool, progress: Progress = silent) -> Survey:
    """Find scans as :func:`find_scans` does, and say what was passed over.

    Parameters
    ----------
    folder : str or Path
        A folder or a zip archive.
    pictures : bool
        Whether to list pictures too.
    progress : Progress, optional

    Raises
    ------
    ReadError
        When `folder` is neither a folder nor a zip archive.
    """
    root = Path(folder)
    found, skipped = sources_below(root, pictures=pictures, seen=lambda _: None, progress=progress)
    return Survey(tuple(source for source, _ in found), tuple(skipped))


def sources_below(
    root: Path, *, pictures: bool, seen: Callable[[Stack], Seen], progress: Progress
) -> tuple[list[Found[Seen]], list[Path]]:
    """Every scan below a folder or in a zip archive, with what is to be known of its headers.

    Parameters
    ----------
    root : Path
    pictures : bool
        Whether to list images without a place in the patient too.
    seen : callable
        Told each DICOM stack while its files are there (those of an archive are not for long);
        what it returns is passed on.
    progress : Progress

    Returns
    -------
    found : list of (ScanSource, what `seen` returned or InputError or None)
        Sorted by path, then by series; an error for damaged files, None for files of other
        formats, which are not opened.
    skipped : list of Path
        Pictures that are not listed, and archives without DICOM; sorted.

    Raises
    ------
    ReadError
        When `root` is neither a folder nor a zip archive.
    """
    if not root.is_dir() and not zip_archive.recognises(root):
        raise ReadError(f"'{root}' is not a folder; check the path", code="NOT_FOUND")
    found, flat = _series_below(root, seen, progress) if root.is_dir() else ([], [])
    skipped: set[Path] = set()
    for path in _files(root):
        if zip_archive.recognises(path):
            inside = _in_archive(path, seen, pictures=pictures, progress=progress)
            found += inside
            skipped |= set() if inside else {path}
        elif path.name.lower().endswith(SCAN_ENDINGS):
            found.append((ScanSource(path, "", ""), None))
        elif picture.recognises(path):
            flat.append((ScanSource(path, "", ""), None))
    if pictures:
        found += flat
    else:
        skipped |= {source.path for source, _ in flat}
    found.sort(key=lambda one: (one[0].path, one[0].series_uid))
    names = _named([source for source, _ in found], root)
    listed = [(source, what) for source, (_, what) in zip(names, found, strict=True)]
    return listed, sorted(skipped)


def _series_below(
    root: Path, seen: Callable[[Stack], Seen], progress: Progress
) -> tuple[list[Found[Seen]], list[Found[Seen]]]:
    """DICOM stacks in folders and damaged files; apart from them, images without a place."""
    images, faults = find_images(root, progress)
    stacks = stacks_of(images)
    homes = _homes(stacks)
    found: list[Found[Seen]] = []
    flat: list[Found[Seen]] = []
    for stack in stacks:
        kind = flat if stack.is_picture else found
        kind.append((ScanSource(homes[stack.series_uid], stack.selector, ""), seen(stack)))
    volumes = {source.path for source, _ in found}
    found += [
        (ScanSource(path, "", ""), fault)
        for path, fault in faults.items()
        if volumes.isdisjoint(path.parents)
    ]
    return found, flat


def _in_archive(
    path: Path, seen: Callable[[Stack], Seen], *, pictures: bool, progress: Progress
) -> list[Found[Seen]]:
    """DICOM stacks in a zip archive, or why it cannot be unpacked."""
    try:
        with zip_archive.unpacked(path, progress=progress) as folder:
            return [
                (ScanSource(path, stack.selector, ""), seen(stack))
                for stack in list_stacks(folder, progress=progress)
                if pictures or not stack.is_picture
            ]
    except InputError as error:
        return [(ScanSource(path, "", ""), error)]


def _files(root: Path) -> list[Path]:
    """Files that are not hidden, at any depth; `root` itself when it is a file."""
    found = [root] if root.is_file() else []
    for base, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(base, name) for name in names if name[0] != "."]
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
        return _safe(root.resolve().name if root.is_dir() else without_suffix(root))
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
