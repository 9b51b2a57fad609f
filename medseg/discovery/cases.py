"""The scan and the label map of each case, found and paired by the names of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.discovery.label_places import FOLDERS, SEGMENTS, is_segments
from medseg.discovery.scans import SCAN_ENDINGS
from medseg.errors import InputError

VOLUMES = (SEGMENTS, *SCAN_ENDINGS, ".rtstruct.dcm", ".dcm")
"""The longest ending first where two fit."""
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Taken only where no label map is a volume: beside volumes they are previews."""
_REPORT = ".sr.dcm"  # that medseg writes beside a DICOM SEG
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class Case:
    """Scan and truth of one patient.

    Parameters
    ----------
    name : str
    images : tuple of Path
        One file (or DICOM folder) for each channel.
    label : Path
    """

    name: str
    images: tuple[Path, ...]
    label: Path


def dataset_folders(root: Path) -> tuple[Path, Path]:
    """The folders of images and of labels; `root` twice where 3D Slicer's files lie beside scans.

    Raises
    ------
    InputError
        When there are no such folders.
    """
    if not root.is_dir():
        raise InputError(f"no dataset folder '{root}'")
    for images, labels in (FOLDERS[0], FOLDERS[2]):
        if (root / images).is_dir() and (root / labels).is_dir():
            return root / images, root / labels
    if any(is_segments(path) for path in _visible(root)):
        return root, root
    raise InputError(
        f"'{root}' is no dataset: it needs imagesTr/ and labelsTr/, or images/ and labels/, or"
        " NAME.seg.nrrd beside NAME.nrrd"
    )


def find_cases(
    images: Path, labels: Path, *, numbered: bool = False, channels: int = 0
) -> tuple[Case, ...]:
    """Match scans to label maps by name; hidden files and folders are passed over.

    Parameters
    ----------
    images, labels : Path
        Folders. Where they are one, label maps are the ``.seg.nrrd`` in it.
    numbered : bool, default False
        Whether every name of an image must end in the number of its channel, as ``_0000``.
        Otherwise such endings are channels where label maps are called so without them.
    channels : int, default 0
        How many a numbered scan must have; 0 for as many as the one that has most.

    Returns
    -------
    tuple of Case
        Sorted by name.

    Raises
    ------
    InputError
        When two files are one case, a channel is missing, or scans and label maps do not pair up.
    """
    truths = label_files(labels, segments_only=images == labels)
    is_volume = any(path.name.lower().endswith(VOLUMES) for path in truths.values())
    scans = _by_name(
        (path for path in _visible(images) if not is_segments(path)),
        VOLUMES if is_volume or not truths else PICTURES,
    )
    if numbered or _counts_channels(scans, truths):
        groups = _channels_of(scans, channels, images)
    else:
        groups = {name: (path,) for name, path in scans.items()}
    _check_pairs(groups, truths, images, labels)
    return tuple(Case(name, groups[name], truths[name]) for name in sorted(groups))


def label_files(folder: Path, *, segments_only: bool = False) -> dict[str, Path]:
    """The label map of each case of a folder; pictures only where there are no volumes.

    Parameters
    ----------
    folder : Path
    segments_only : bool, default False
        Whether to take 3D Slicer's ``.seg.nrrd`` alone, other files being scans.

    Raises
    ------
    InputError
        When two files are of one case.
    """
    files = [path for path in _visible(folder) if path.is_file()]
    if segments_only:
        files = [path for path in files if is_segments(path)]
    written = {path.name.lower() for path in files}
    volumes = _by_name((path for path in files if not _is_copy(path, written)), VOLUMES)
    return volumes or _by_name(files, PICTURES)


def label_folder(root: Path) -> Path:
    """The folder of label maps of a dataset; any other folder itself."""
    pairs = ((root / images, root / labels) for images, labels in FOLDERS)
    return next((labels for images, labels in pairs if images.is_dir() and labels.is_dir()), root)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_copy(path: Path, names: set[str]) -> bool:
    """Whether medseg wrote it beside a DICOM SEG: a report, or contours of the same structures."""
    name = path.name.lower()
    as_segments = name.removesuffix(".rtstruct.dcm") + ".dcm"
    return name.endswith(_REPORT) or (name != as_segments and as_segments in names)


def _by_name(paths: Iterable[Path], endings: tuple[str, ...]) -> dict[str, Path]:
    """Files without their ending, whatever its capitals, and folders by their whole name."""
    files: dict[str, Path] = {}
    for path in paths:
        ending = next((end for end in endings if path.name.lower().endswith(end)), "")
        if not ending and not path.is_dir():
            continue
        name = path.name if path.is_dir() else path.name[: -len(ending)]
        if name in files:
            raise InputError(
                f"'{files[name].name}' and '{path.name}' in '{path.parent}' would be one case; keep"
                " one of them",
                code="TWO_FILES",
            )
        files[name] = path
    return files


def _counts_channels(scans: Mapping[str, Path], truths: Mapping[str, Path]) -> bool:
    """Whether endings as ``_0000`` are numbers of channels, no parts of the cases' names."""
    matches = [_CHANNEL.fullmatch(name) for name in scans]
    return not set(scans) & set(truths) and any(match and match[1] in truths for match in matches)


def _channels_of(
    scans: Mapping[str, Path], count: int, folder: Path
) -> dict[str, tuple[Path, ...]]:
    """Channel files of each case, in the order of their numbers; none may be missing."""
    groups: dict[str, dict[int, Path]] = {}
    for name, path in scans.items():
        match = _CHANNEL.fullmatch(name)
        if match is None:
            raise InputError(
                f"'{path.name}' in '{folder}' does not say which channel it is; names of images end"
                f" in the channel's number, as '{name}_0000{path.name[len(name) :]}'",
                code="NO_CHANNEL",
            )
        groups.setdefault(match[1], {})[int(match[2])] = path
    wanted = range(count or 1 + max((max(files) for files in groups.values()), default=0))
    for name, files in groups.items():
        if set(files) != set(wanted):
            raise InputError(
                f"case '{name}' in '{folder}' has {_numbered(name, files)} where"
                f" {_numbered(name, wanted)} {'are' if len(wanted) > 1 else 'is'} needed"
                f"{_missing(name, set(wanted) - set(files))}; correct its files or move the case"
                " away",
                code="CHANNELS",
            )
    return {name: tuple(files[number] for number in wanted) for name, files in groups.items()}


def _numbered(name: str, numbers: Iterable[int]) -> str:
    return ", ".join(f"{name}_{number:04d}" for number in sorted(numbers))


def _missing(name: str, numbers: set[int]) -> str:
    return f": {_numbered(name, numbers)} is missing" if numbers else ""


def _check_pairs(
    scans: Mapping[str, object], truths: Mapping[str, Path], images: Path, labels: Path
) -> None:
    """Raise `InputError` unless every scan has a label map and every label map a scan."""
    if not scans and not truths:
        raise InputError(f"no images ({', '.join(VOLUMES + PICTURES)}) in '{images}'")
    sides = (
        ("image(s)", images, sorted(set(scans) - set(truths)), "label map"),
        ("label map(s)", labels, sorted(set(truths) - set(scans)), "image"),
    )
    lacking = [
        f"{len(names)} {what} in '{folder}' have no {other}, such as '{names[0]}'"
        for what, folder, names, other in sides
        if names
    ]
    if lacking:
        raise InputError(
            f"{'; '.join(lacking)}; names must be equal up to the ending: add what is missing or"
            " move these away",
            code="NOT_PAIRED",
        )
