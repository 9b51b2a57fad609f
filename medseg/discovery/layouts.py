"""In which way a folder, or a list, is a dataset; never guessed where two ways would do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from medseg.discovery.bids import bids_cases, is_bids, label_names
from medseg.discovery.case_lists import is_case_list, listed_cases
from medseg.discovery.cases import Case, find_cases, folder_pairs
from medseg.discovery.json_file import Json, channel_names, read_json
from medseg.discovery.mask_files import Masks, check_structures
from medseg.discovery.named_channels import ordered
from medseg.discovery.patient_folders import cases_in, patient_cases
from medseg.discovery.scan_files import is_segments, visible
from medseg.errors import InputError

_KNOWN = (
    "imagesTr/ and labelsTr/, or images/ and labels/ or masks/; NAME.seg.nrrd beside NAME.nrrd;"
    " a folder for each patient with a scan and its label map (NAME_seg, label, mask, a DICOM"
    " SEG...); BIDS with derivatives; or a CSV or JSON list of image and label"
)


@dataclass(frozen=True)
class CaseSet:
    """The cases of a dataset and what its files say of them.

    Parameters
    ----------
    folder : Path
        Where the files about the whole lie.
    cases : tuple of Case
        Sorted by name; never empty.
    about : dict
        ``dataset.json``, or the list where that is JSON.
    channels : tuple of str
        What each image of a case shows; empty where nothing says so.
    names : mapping of int to str
        What the values of the label maps mean, where the layout itself says so.
    """

    folder: Path
    cases: tuple[Case, ...]
    about: Json = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)


def find_dataset(root: Path) -> CaseSet:
    """The cases of a dataset, in whichever way they are laid out.

    Parameters
    ----------
    root : Path
        A folder, or a list of cases.

    Raises
    ------
    InputError
        When there is no dataset, it could be read in more than one way, or cases are not complete.
    """
    if root.is_file():
        return _from_list(root)
    if not root.is_dir():
        raise InputError(f"no dataset folder '{root}'; check the path", code="NOT_FOUND")
    about = read_json(root / "dataset.json")
    ways = _ways(root)
    if len(ways) > 1:
        raise InputError(
            f"'{root}' can be read in several ways: {', '.join(ways)}; give the list itself where"
            " that is meant, or move one of them away",
            code="AMBIGUOUS",
        )
    for how, path in ways.items():
        if how.startswith("list"):
            return _from_list(path)
        if how == "BIDS":
            return _from_bids(root, about)
        return _from_pair(*next(iter(folder_pairs(path)), (root, root)), about)
    return _from_words(root, about)


def _ways(root: Path) -> dict[str, Path]:
    """The ways in which the folder is sure to be meant, each with what shows it."""
    ways = {f"{images.name}/ and {labels.name}/": root for images, labels in folder_pairs(root)}
    decathlon = bool(ways)
    if is_bids(root):
        ways["BIDS"] = root
    for path in visible(root):
        if is_segments(path):
            ways["NAME.seg.nrrd beside scans"] = root
        elif not (decathlon and path.suffix.lower() == ".json"):
            with suppress(InputError):  # other tables and JSON may lie here
                ways |= {f"list '{path.name}'": path} if is_case_list(path) else {}
    return ways


def _from_pair(images: Path, labels: Path, about: Json) -> CaseSet:
    """Folders of images and labels; of nnU-Net's second version every image says its channel."""
    channels = channel_names(about)
    raw = images.name == "imagesTr"
    cases = find_cases(
        images,
        labels,
        numbered=raw and "channel_names" in about,
        channels=len(channels) if raw else 0,
    )
    return CaseSet(labels.parent if images != labels else images, cases, about, channels)


def _from_list(path: Path) -> CaseSet:
    if not is_case_list(path):
        raise InputError(
            f"'{path}' is no list of cases: CSV needs the columns image and label, JSON a list"
            ' of {"image": ..., "label": ...} under "training"'
        )
    cases, about = listed_cases(path)
    return CaseSet(path.parent, cases, about, channel_names(about))


def _from_bids(root: Path, about: Json) -> CaseSet:
    named = bids_cases(root, channel_names(about))
    if not named:
        raise InputError(f"'{root}' is BIDS, and no derivative of it has a file *_dseg.nii.gz")
    cases, channels = ordered(named, channel_names(about), root)
    _check_masks(cases)
    left = {path.name for path in root.glob("sub-*")} - {case.patient for case in cases}
    if left:
        warnings.warn(
            f"left out, without a segmentation in the derivatives: {', '.join(sorted(left)[:5])}"
            + (f" and {len(left) - 5} more" if len(left) > 5 else ""),
            stacklevel=2,
        )
    return CaseSet(root, cases, about, channels, label_names(named))


def _from_words(root: Path, about: Json) -> CaseSet:
    """Scans and label maps that words in their names tell apart, in one folder or in many."""
    beside, apart = cases_in(root, ""), patient_cases(root)
    if beside and apart:
        raise InputError(
            f"'{root}' holds the case '{beside[0].name}' itself, and '{apart[0].name}' in a folder"
            " for each patient; keep one of the two, or give a CSV list of the cases",
            code="AMBIGUOUS",
        )
    if not beside and not apart:
        raise InputError(f"'{root}' is no dataset; it was looked for {_KNOWN}")
    cases, channels = ordered(beside or apart, channel_names(about), root)
    _check_masks(cases)
    return CaseSet(root, cases, about, channels)


def _check_masks(cases: tuple[Case, ...]) -> None:
    check_structures({case.name: case.label for case in cases if isinstance(case.label, Masks)})
