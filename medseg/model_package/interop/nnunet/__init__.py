"""Trained models of nnU-Net v2: a folder ``TRAINER__PLANS__CONFIGURATION`` or its zip."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from medseg.model_package.interop.nnunet.folders import PLANS, checkpoints_in, trained_in

if TYPE_CHECKING:
    from medseg.model_package.package import ModelPackage


def recognises(path: Path) -> bool:
    """Whether a folder or zip archive holds plans and weights of nnU-Net."""
    if path.is_dir():
        return bool(trained_in(path))
    if path.suffix.lower() != ".zip":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == PLANS for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return True  # the import says what is wrong with it


def read(path: Path) -> ModelPackage:
    """The model, imported the first time and kept; of several configurations, the best.

    Raises
    ------
    PackageError
        When it cannot be used; the message names the file and why.
    ReadError
        When an archive is damaged or unsafe.
    """
    from medseg.model_package.interop.kept import kept
    from medseg.model_package.interop.nnunet.importing import import_nnunet

    return kept(path, _files(path), import_nnunet)


def _files(path: Path) -> list[Path]:
    """The files that make the model."""
    if path.is_file():
        return [path]
    weights = [file for folder in trained_in(path) for file in checkpoints_in(folder)]
    return sorted({*path.rglob("*.json"), *weights})
