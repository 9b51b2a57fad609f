"""A folder for each patient, or one for all, whose files say in words what they are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from medseg.discovery.dicom_cases import dicom_cases
from medseg.discovery.label_words import WORDS, scan_words, words_of
from medseg.discovery.mask_files import Masks, mask_folder
from medseg.discovery.named_channels import NamedCase
from medseg.discovery.scan_files import PICTURES, VOLUMES, by_name, is_segments, two_files, visible
from medseg.errors import InputError

_FILES = tuple(ending for ending in VOLUMES if not ending.endswith(".dcm"))


def patient_cases(root: Path) -> list[NamedCase]:
    """The cases in the folders of a folder, sessions of a patient apart; none where there are none.

    Raises
    ------
    InputError
        When some folders hold a case and one holds scans without one, or a scan without a label.
    """
    folders = [path for path in visible(root) if path.is_dir()]
    cases = {folder: _of_patient(folder) for folder in folders}
    if any(cases.values()):
        for folder, own in cases.items():
            if not own and any(path.is_file() for path in folder.rglob("*")):
                raise InputError(
                    f"'{folder}' holds no label map beside its scan, as the other folders of"
                    f" '{root}' do; add it (NAME_seg, label, mask or the like, or a DICOM SEG or"
                    " RT Structure Set), or move the folder away",
                    code="NOT_PAIRED",
                )
    return [case for own in cases.values() for case in own]


def _of_patient(folder: Path) -> list[NamedCase]:
    """The cases of a patient's folder, of its sessions, or of its DICOM files."""
    cases = cases_in(folder, folder.name)
    if cases or _scans(folder):
        return cases
    for session in (path for path in visible(folder) if path.is_dir()):
        if _scans(session):
            cases += cases_in(session, folder.name, prefix=f"{folder.name}_{session.name}")
    return cases or dicom_cases(folder, folder.name)


def cases_in(folder: Path, patient: str, *, prefix: str = "") -> list[NamedCase]:
    """The cases of which files of one folder say in words that they are scan and label map.

    Parameters
    ----------
    folder : Path
    patient : str
        "" where files of many patients lie in it.
    prefix : str, optional
        What a single case is called, in place of the patient.

    Raises
    ------
    InputError
        When a label map has no scan or two label maps are of one.
    """
    files = _scans(folder)
    labels = {name: parts for name in files if (parts := scan_words(name)) is not None}
    scans = {name: path for name, path in files.items() if name not in labels}
    masks = _masks_beside(folder) if patient else None
    if masks and labels:
        raise InputError(
            f"'{files[next(iter(labels))]}' and the mask '{masks.first_file}' would be the labels"
            " of one case; keep one of them",
            code="TWO_FILES",
        )
    name = prefix or patient
    if masks and scans:
        return [NamedCase(name, patient, _named(scans, []), masks)]
    if labels and not scans:
        return []
    cases: list[NamedCase] = []
    taken: dict[tuple[Path, ...], Path] = {}
    for label, parts in sorted(labels.items()):
        images = _images_of(parts, scans, alone=len(labels) == 1 and bool(patient))
        if not images:
            raise InputError(
                f"'{files[label]}' is called as a label map and no scan beside it is called"
                f" '{'_'.join(parts)}'; name them alike, or give a CSV list of the cases",
                code="NOT_PAIRED",
            )
        _check_channels(images, files[label])
        key = tuple(images.values())
        if key in taken:
            raise two_files(taken[key], files[label])
        taken[key] = files[label]
        cases.append(
            NamedCase(
                name if patient and len(labels) == 1 else _case_name(name, parts, images),
                patient,
                images,
                files[label],
            )
        )
    _tell_left(scans, taken)
    return cases


def _scans(folder: Path) -> dict[str, Path]:
    """Volumes of a folder by name, or pictures where there are none; DICOM apart."""
    files = [path for path in visible(folder) if path.is_file()]
    segments = by_name((path for path in files if is_segments(path)), VOLUMES)
    volumes = by_name((path for path in files if not is_segments(path)), _FILES)
    volumes |= {f"{name}_seg": path for name, path in segments.items()}
    return volumes or by_name(files, PICTURES)


def _masks_beside(folder: Path) -> Masks | None:
    """The masks in a folder called so beside the scan."""
    for path in visible(folder):
        if path.is_dir() and path.name.casefold() in WORDS and (masks := mask_folder(path)):
            return masks
    return None


def _images_of(parts: list[str], scans: Mapping[str, Path], *, alone: bool) -> dict[str, Path]:
    """The scan whose name has these words, else those that begin with them, one a channel."""
    for name, path in scans.items():
        if parts and parts in (words_of(name), words_of(name)[1:]):
            return {"": path}
    starting = {name: path for name, path in scans.items() if words_of(name)[: len(parts)] == parts}
    if starting and parts:
        return _named(starting, parts)
    return _named(scans, _shared(scans)) if alone or not parts else {}


def _check_channels(images: Mapping[str, Path], label: Path) -> None:
    """Refuse channels whose names also hold a word of label maps."""
    for name, path in images.items():
        if len(images) > 1 and WORDS & set(words_of(name)):
            raise InputError(
                f"'{path}' may be a channel of the scan that '{label.name}' was drawn on, or"
                " another label map; rename it, or give a CSV list of the cases",
                code="AMBIGUOUS",
            )


def _shared(scans: Mapping[str, Path]) -> list[str]:
    """The words with which all names begin, without the last of any."""
    first, *rest = [words_of(name)[:-1] for name in scans]
    count = 0
    while count < len(first) and all(
        len(parts) > count and parts[count] == first[count] for parts in rest
    ):
        count += 1
    return first[:count] if rest else []


def _named(scans: Mapping[str, Path], parts: list[str]) -> dict[str, Path]:
    """Images by what their names say after the words."""
    return {"_".join(words_of(name)[len(parts) :]): path for name, path in scans.items()}


def _case_name(patient: str, parts: list[str], images: Mapping[str, Path]) -> str:
    """The name of one of several cases: that of its scan, with the patient in it."""
    path = next(iter(images.values()))
    name = by_name([path], VOLUMES + PICTURES)
    own = next(iter(name)) if len(images) == 1 else "_".join(parts)
    return own if own.casefold().startswith(patient.casefold()) else f"{patient}_{own}"


def _tell_left(scans: Mapping[str, Path], taken: Mapping[tuple[Path, ...], Path]) -> None:
    """Warn of scans that have no label map where others in their folder have one."""
    used = {path for paths in taken for path in paths}
    left = [path.name for path in scans.values() if path not in used]
    if taken and left:
        folder = next(iter(scans.values())).parent
        warnings.warn(
            f"left out, without a label map in '{folder}': {', '.join(left[:5])}"
            + (f" and {len(left) - 5} more" if len(left) > 5 else ""),
            stacklevel=2,
        )
