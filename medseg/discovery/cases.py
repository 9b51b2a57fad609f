"""The scan and the label map of each case, found and paired by the names of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from medseg.discovery.mask_files import Masks, check_structures, flat_masks, mask_folders
from medseg.discovery.scan_files import PICTURES, VOLUMES, by_name, is_segments, visible
from medseg.errors import InputError

_REPORT = ".sr.dcm"  # that medseg writes beside a DICOM SEG
_TRAINING = (("imagesTr", "labelsTr"), ("images", "labels"), ("images", "masks"))
_FOLDERS = (*_TRAINING, ("imagesTs", "labelsTs"))
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class Case:
    """Scan and truth of one patient.

    Parameters
    ----------
    name : str
    images : tuple of Path
        One file (or DICOM folder) for each channel.
    label : Path or Masks
        One file, or one for each structure.
    patient : str
        Whose scan it is, where the names of folders or a list say so.
    fold : int or None
        Which fold holds it out, where a list says so.
    series : str
        Which of the series in a DICOM folder.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | Masks
    patient: str = ""
    fold: int | None = None
    series: str = ""

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The files of the truth."""
        return self.label.paths if isinstance(self.label, Masks) else (self.label,)


def folder_pairs(root: Path) -> list[tuple[Path, Path]]:
    """The folders of images and of labels that a dataset may keep apart."""
    pairs = [(root / images, root / labels) for images, labels in _TRAINING]
    return [pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()]


def paired_folder(folder: Path) -> tuple[Path, Path] | None:
    """The folders of images and of labels, of training or of test cases, where there are both."""
    pairs = ((folder / images, folder / labels) for images, labels in _FOLDERS)
    return next((pair for pair in pairs if all(part.is_dir() for part in pair)), None)


def find_cases(
    images: Path, labels: Path, *, numbered: bool = False, channels: int = 0
) -> tuple[Case, ...]:
    """Match scans to label maps by name; hidden files and folders are passed over.

    Parameters
    ----------
    images, labels : Path
        Folders. Where they are one, label maps are the ``.seg.nrrd`` in it. `labels` may hold a
        folder of masks for each case, or files ``CASE_STRUCTURE``.
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
    files = label_files(labels, segments_only=images == labels)
    truths: Mapping[str, Path | Masks] = files or mask_folders(labels)
    paths = [truth.paths[0] if isinstance(truth, Masks) else truth for truth in truths.values()]
    is_picture = bool(paths) and not any(path.name.lower().endswith(VOLUMES) for path in paths)
    scans = by_name(
        (path for path in visible(images) if not is_segments(path)),
        PICTURES if is_picture else VOLUMES,
    )
    if files:
        channels_cut = {match[1] for name in scans if (match := _CHANNEL.fullmatch(name))}
        truths = flat_masks(files, {*scans, *channels_cut})
    if numbered or _counts_channels(scans, truths):
        groups = _channels_of(scans, channels, images)
    else:
        groups = {name: (path,) for name, path in scans.items()}
    _check_pairs(groups, truths, images, labels)
    check_structures({name: truth for name, truth in truths.items() if isinstance(truth, Masks)})
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
    files = [path for path in visible(folder) if path.is_file()]
    if segments_only:
        files = [path for path in files if is_segments(path)]
    return by_name(without_copies(files), VOLUMES) or by_name(files, PICTURES)


def without_copies(files: Sequence[Path]) -> list[Path]:
    """The files without what medseg writes beside a DICOM SEG: a report, and contours of it."""
    names = {path.name.lower() for path in files}
    return [path for path in files if not _is_copy(path.name.lower(), names)]


def _is_copy(name: str, names: AbstractSet[str]) -> bool:
    as_segments = name.removesuffix(".rtstruct.dcm") + ".dcm"
    return name.endswith(_REPORT) or (name != as_segments and as_segments in names)


def _counts_channels(scans: Mapping[str, Path], truths: Mapping[str, object]) -> bool:
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
    scans: Mapping[str, object], truths: Mapping[str, object], images: Path, labels: Path
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
