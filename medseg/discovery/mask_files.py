"""Truth in one file for each structure: ``labels/CASE/liver.nii.gz`` or ``CASE_liver.nii.gz``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.discovery.label_words import is_label_word
from medseg.discovery.scan_files import PICTURES, VOLUMES, by_name, visible
from medseg.errors import InputError


@dataclass(frozen=True)
class Masks:
    """The masks of a case.

    Parameters
    ----------
    files : tuple of (str, Path)
        Structure and its file, by the name of the structure.
    """

    files: tuple[tuple[str, Path], ...]

    @classmethod
    def of(cls, files: Mapping[str, Path]) -> Masks:
        """Masks from files by structure."""
        return cls(tuple(sorted(files.items())))

    @property
    def names(self) -> tuple[str, ...]:
        """The structures."""
        return tuple(name for name, _ in self.files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(path for _, path in self.files)

    @property
    def first_file(self) -> str:
        """The first file, for sentences."""
        return str(self.paths[0])


def mask_folder(folder: Path) -> Masks | None:
    """The masks that lie in a folder; None without any."""
    files = [path for path in visible(folder) if path.is_file()]
    masks = by_name(files, VOLUMES) or by_name(files, PICTURES)
    return Masks.of(masks) if masks else None


def mask_folders(labels: Path) -> dict[str, Path | Masks]:
    """What lies in the folder of each case: its masks, or one file that is a DICOM object."""
    folders = {path.name: mask_folder(path) for path in visible(labels) if path.is_dir()}
    return {
        name: masks.paths[0] if masks.paths[0].suffix.lower() == ".dcm" else masks
        for name, masks in folders.items()
        if masks
    }


def flat_masks(
    files: Mapping[str, Path], cases: Collection[str]
) -> Mapping[str, Path] | Mapping[str, Masks]:
    """Files called ``CASE_STRUCTURE`` by their case.

    Parameters
    ----------
    files : mapping of str to Path
        By name.
    cases : collection of str
        What cases are called; of two that fit, the longer one counts.

    Returns
    -------
    mapping of str to Path or Masks
        `files` as they are where one of them is called as a case, or as none. One file a case
        whose name says "label", "seg" or the like after that of the case is a whole label map.
    """
    parts: dict[str, dict[str, Path]] = {}
    for name, path in files.items():
        fitting = [case for case in cases if name.startswith((f"{case}_", f"{case}-"))]
        if name in cases or not fitting:
            return files
        case = max(fitting, key=len)
        parts.setdefault(case, {})[name[len(case) + 1 :]] = path
    if parts and all(len(part) == 1 and is_label_word(*part) for part in parts.values()):
        return {case: path for case, part in parts.items() for path in part.values()}
    return {case: Masks.of(part) for case, part in parts.items()} or files


def check_structures(masks: Mapping[str, Masks]) -> None:
    """Raise `InputError` unless every case has a mask of every structure."""
    whole = {name for own_masks in masks.values() for name in own_masks.names}
    for case, own_masks in masks.items():
        if missing := sorted(whole - set(own_masks.names)):
            raise InputError(
                f"case '{case}' has masks of {', '.join(own_masks.names)} and other cases have"
                f" {', '.join(missing)} too; add an empty mask where the structure is not there, or"
                " move the case away",
                code="MASK_MISSING",
            )
