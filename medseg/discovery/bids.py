"""BIDS: scans in ``sub-01/anat/``, their segmentations in ``derivatives/NAME/sub-01/anat/``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.discovery.mask_files import Masks
from medseg.discovery.named_channels import NamedCase
from medseg.discovery.scan_files import stem_of
from medseg.errors import InputError

_NOT_SHARED = {"space", "desc", "label", "res", "den", "hemi", "seg", "atlas", "from", "to"}
"""Entities of a derivative that its scan need not have (BIDS 1.10, derivatives)."""
_PARTS = ("roi", "mask")


@dataclass(frozen=True)
class _File:
    """A file by the parts of its name, as ``sub-01_ses-2_desc-manual_dseg.nii.gz``."""

    path: Path
    entities: dict[str, str]
    suffix: str
    parts: tuple[str, ...]

    @property
    def case(self) -> str:
        """Subject and session."""
        keys = [key for key in ("sub", "ses") if key in self.entities]
        return "_".join(f"{key}-{self.entities[key]}" for key in keys)


def is_bids(root: Path) -> bool:
    """Whether a folder has subjects and derivatives, or is one of the derivatives."""
    return bool(_subjects(root)) and ((root / "derivatives").is_dir() or _is_derivative(root))


def bids_cases(root: Path, channels: Sequence[str]) -> list[NamedCase]:
    """The scans that have a segmentation among the derivatives.

    Parameters
    ----------
    root : Path
        A BIDS dataset, or the folder of one of its derivatives.
    channels : sequence of str
        Suffixes of the images to take, as T1w; needed where a session has several.

    Raises
    ------
    InputError
        When several segmentations or images are of one session, or none.
    """
    raw = root.parent.parent if _is_derivative(root) else root
    folders = [root] if _is_derivative(root) else list((root / "derivatives").iterdir())
    derived = [file for folder in folders if folder.is_dir() for file in _files(folder)]
    images = [file for file in _files(raw) if file.suffix not in ("dseg", "probseg", *_PARTS)]
    labels = [file for file in derived if file.suffix == "dseg"]
    if not labels:
        labels = [file for file in derived if file.suffix in _PARTS]
    return [_named_case(label, images, channels) for label in _one_each(labels)]


def label_names(cases: Sequence[NamedCase]) -> dict[int, str]:
    """What ``dseg.tsv`` beside or above the segmentations says of their values.

    Raises
    ------
    InputError
        When two tables differ, or one cannot be read.
    """
    names: dict[int, str] = {}
    origin: Path | None = None
    for path in sorted({table for case in cases for table in _tables(case.label)}):
        own = _read_table(path)
        if origin and own != names:
            raise InputError(
                f"'{origin}' and '{path}' give the values other names; make them one, or say with"
                " --labels what the values mean",
                code="NAMES_DIFFER",
            )
        names, origin = own, path
    return names


def is_bids_label(path: Path) -> bool:
    """Whether a file is called as a segmentation among the derivatives of BIDS."""
    parts = stem_of(path).split("_")
    return parts[0].startswith("sub-") and parts[-1] in ("dseg", "probseg", *_PARTS)


def _subjects(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("sub-*") if path.is_dir())


def _is_derivative(root: Path) -> bool:
    return root.resolve().parent.name == "derivatives" and bool(
        _subjects(root.resolve().parent.parent)
    )


def _files(folder: Path) -> list[_File]:
    """The volumes of all subjects of a dataset."""
    files = []
    for subject in _subjects(folder):
        for path in sorted(subject.rglob("sub-*")):
            stem = stem_of(path) if path.is_file() else ""
            parts = [part for part in stem.split("_") if part and "-" not in part]
            entities = dict(part.split("-", 1) for part in stem.split("_") if "-" in part)
            if parts:
                files.append(_File(path, entities, parts[-1], tuple(parts[:-1])))
    return files


def _one_each(labels: Sequence[_File]) -> list[tuple[_File, Path | Masks]]:
    """Segmentations, those of one structure each put together by scan."""
    groups: dict[tuple[object, ...], list[_File]] = {}
    for file in labels:
        groups.setdefault((file.case, *sorted(_own(file).items())), []).append(file)
    return [(group[0], _label(group)) for group in groups.values()]


def _label(group: list[_File]) -> Path | Masks:
    """The segmentation of a scan; masks that name their structure, where there are several."""
    parts = {file.entities.get("label", ""): file.path for file in group}
    if len(parts) == len(group) and "" not in parts and group[0].suffix in _PARTS:
        return Masks.of(parts)
    if len(group) == 1:
        return group[0].path
    raise InputError(
        f"'{group[0].path}' and '{group[1].path}' are both segmentations of {group[0].case}; give"
        " the folder of the derivative that holds the right one (DATASET/derivatives/NAME), or a"
        " CSV list of the cases",
        code="TWO_FILES",
    )


def _own(file: _File) -> dict[str, str]:
    """The entities that a segmentation shares with its scan."""
    return {key: value for key, value in file.entities.items() if key not in _NOT_SHARED}


def _named_case(
    row: tuple[_File, Path | Masks], images: Sequence[_File], channels: Sequence[str]
) -> NamedCase:
    """A segmentation and the images of its session."""
    file, label = row
    wanted = _own(file)
    fitting = [
        image
        for image in images
        if all(image.entities.get(key) == value for key, value in wanted.items())
    ]
    named = {*file.parts, file.entities.get("space", "")}
    fitting_named = [image for image in fitting if image.suffix in (channels or named)]
    fitting_named = fitting_named or fitting
    suffixes = {image.suffix: image.path for image in fitting_named}
    if not suffixes:
        raise InputError(
            f"'{file.path}' has no image: '{file.case}' has none whose name agrees with it; add"
            " the image or move the segmentation away",
            code="NOT_PAIRED",
        )
    if len(suffixes) < len(fitting_named) or (len(suffixes) > 1 and not channels):
        listed = ", ".join(f"'{image.path.name}'" for image in fitting_named[:5])
        raise InputError(
            f"'{file.path}' could be drawn on {listed}; say in dataset.json which are the channels,"
            ' as {"channel_names": {"0": "T1w"}}, or give a CSV list of the cases',
            code="AMBIGUOUS",
        )
    name = "_".join(f"{key}-{value}" for key, value in wanted.items())
    return NamedCase(name, f"sub-{file.entities['sub']}", suffixes, label)


def _tables(label: Path | Masks) -> list[Path]:
    """The nearest label table of a segmentation: its own, else one further up."""
    if isinstance(label, Masks):
        return []
    own = label.with_name(stem_of(label) + ".tsv")
    if own.is_file():
        return [own]
    for folder in label.parents[:4]:
        if tables := sorted(folder.glob("*dseg.tsv")):
            parts = set(own.stem.split("_"))
            return [path for path in tables if parts >= set(path.stem.split("_"))]
    return []


def _read_table(path: Path) -> dict[int, str]:
    """Names by value of a ``dseg.tsv``, background left out."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        names = {int(float(row["index"])): row["name"].strip() for row in rows}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"'{path}' is no label table of BIDS; it needs the columns index and name"
        ) from error
    return {value: name for value, name in names.items() if value}
