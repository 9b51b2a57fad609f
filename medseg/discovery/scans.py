"""Every scan below a folder, found but not read: for work on many."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from medseg.discovery.label_places import is_label_map
from medseg.discovery.scan_files import SCAN_ENDINGS, VOXEL_ENDINGS
from medseg.errors import InputError, ReadError
from medseg.reading import picture, zip_archive
from medseg.reading.dicom.folder import common_folders, stacks_below
from medseg.reading.dicom.series import list_stacks
from medseg.reading.dicom.stacks import Stack
from medseg.reading.file_names import without_suffix
from medseg.runtime.progress import Progress, silent


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


Info = TypeVar("Info")
Finding: TypeAlias = tuple[ScanSource, Info | InputError | None]


def find_scans(
    folder: str | Path, *, pictures: bool = False, progress: Progress = silent
) -> list[ScanSource]:
    """Every NIfTI, NRRD, MetaImage and GIPL file and every DICOM stack below a folder.

    Stacks that will be refused when read (missing slices, mosaics) and damaged DICOM files are
    listed too, so that work on many can report them. Label maps are no scans; see
    :func:`medseg.discovery.label_places.is_label_map`.

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
    findings, _ = sources_below(
        Path(folder), pictures=pictures, describe=lambda _: None, progress=progress
    )
    return [source for source, _ in findings if not is_label_map(source.path)]


def sources_below(
    root: Path,
    *,
    pictures: bool,
    describe: Callable[[Stack], Info],
    progress: Progress,
    extra_fields: tuple[str, ...] = (),
) -> tuple[list[Finding[Info]], list[Path]]:
    """Every scan below a folder or in a zip archive, with what `describe` takes from its headers.

    `describe` is called with each DICOM stack while its files are there (those of an archive are
    removed); what it returns is passed on. `pictures` lists images without a place in the patient
    too; `extra_fields` are read of DICOM headers as well.

    Returns
    -------
    findings : list of (ScanSource, what `describe` returned or InputError or None)
        Sorted by path, then by series; an error for damaged files, None for files of other
        formats, which are not opened.
    skipped : list of Path
        All other files that are not hidden: pictures that are not listed, archives without DICOM,
        DICOM objects that are no scans, files of other kinds.

    Raises
    ------
    ReadError
        When `root` is neither a folder nor a zip archive.
    """
    if not root.is_dir() and not zip_archive.recognises(root):
        raise ReadError(f"'{root}' is not a folder; check the path", code="NOT_FOUND")
    findings: list[Finding[Info]] = []
    planar: list[Finding[Info]] = []
    taken: set[Path] = set()
    if root.is_dir():
        findings, planar, taken = _series_below(root, describe, progress, extra_fields)
    files = _files(root)
    for path in files:
        if zip_archive.recognises(path):
            findings += _in_archive(
                path, describe, pictures=pictures, progress=progress, extra_fields=extra_fields
            )
        elif path.name.lower().endswith(SCAN_ENDINGS):
            findings.append((ScanSource(path, "", ""), None))
        elif picture.recognises(path):
            planar.append((ScanSource(path, "", ""), None))
    findings += planar if pictures else []
    taken |= {source.path for source, _ in findings}
    skipped = {path for path in files if path not in taken and not _is_part(path)}
    skipped |= set() if pictures else {source.path for source, _ in planar}
    findings.sort(key=lambda finding: (finding[0].path, finding[0].series_uid))
    names = _with_unique_names([source for source, _ in findings], root)
    listed = [(source, info) for source, (_, info) in zip(names, findings, strict=True)]
    return listed, sorted(skipped)


def _series_below(
    root: Path,
    describe: Callable[[Stack], Info],
    progress: Progress,
    extra_fields: tuple[str, ...],
) -> tuple[list[Finding[Info]], list[Finding[Info]], set[Path]]:
    """DICOM stacks in folders and damaged files; images without a place; the files of all."""
    stacks, faults, taken = stacks_below(root, progress, extra_fields=extra_fields)
    folders = common_folders(stacks)
    findings: list[Finding[Info]] = []
    planar: list[Finding[Info]] = []
    for stack in stacks:
        target = planar if stack.is_picture else findings
        target.append((ScanSource(folders[stack.series_uid], stack.selector, ""), describe(stack)))
    findings += [(ScanSource(path, "", ""), fault) for path, fault in faults.items()]
    return findings, planar, taken


def _is_part(path: Path) -> bool:
    """Whether a file belongs to others: an index of DICOM, or the voxels of a header beside it."""
    if path.name.upper() == "DICOMDIR":
        return True
    name = path.name.lower()
    stem = next((path.name[: -len(end)] for end in VOXEL_ENDINGS if name.endswith(end)), "")
    return any(path.with_name(stem + end).exists() for end in (".mhd", ".nhdr") if stem)


def _in_archive(
    path: Path,
    describe: Callable[[Stack], Info],
    *,
    pictures: bool,
    progress: Progress,
    extra_fields: tuple[str, ...],
) -> list[Finding[Info]]:
    """DICOM stacks in a zip archive, or why it cannot be unpacked."""
    try:
        with zip_archive.unpacked(path, progress=progress) as folder:
            return [
                (ScanSource(path, stack.selector, ""), describe(stack))
                for stack in list_stacks(folder, progress=progress, extra_fields=extra_fields)
                if pictures or not stack.is_picture
            ]
    except InputError as error:
        return [(ScanSource(path, "", ""), error)]


def _files(root: Path) -> list[Path]:
    """Files that are not hidden, at any depth; `root` itself when it is a file."""
    paths = [root] if root.is_file() else []
    for base, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(base, name) for name in names if name[0] != "."]
    return paths


def _with_unique_names(sources: list[ScanSource], root: Path) -> list[ScanSource]:
    """Give each source the shortest name that no other has."""
    names = [_short(source, root) for source in sources]
    for make_name in (_long, _hashed):
        shared = Counter(name.casefold() for name in names)
        names = [
            name if shared[name.casefold()] == 1 else make_name(source, root)
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
