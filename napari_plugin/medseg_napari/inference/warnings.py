"""What a person should be warned of before a model runs on a layer."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from medseg.workflows.record import modality_warning
from medseg_napari.layers import FOREIGN, UNKNOWN_PLACE, provenance_of, source_of

if TYPE_CHECKING:
    from medseg.model_package import ModelPackage


def other_modality(
    data: npt.NDArray[Any], attributes: dict[str, Any], package: ModelPackage
) -> str:
    """A sentence when a model was trained on scans of another kind, else an empty string."""
    source = source_of(data, attributes)
    card = package.manifest.card
    return modality_warning(
        package.manifest.name, card.modality, source["modality"] if source else ""
    )


def placement_warning(data: npt.NDArray[Any], attributes: dict[str, Any]) -> str:
    """Why the place or size of a layer's voxels may be wrong; empty when there is no doubt."""
    source = source_of(data, attributes)
    foreign = source is None or provenance_of(source).format == FOREIGN.format
    return UNKNOWN_PLACE if foreign else ""


def file_of(source_path: object) -> str:
    """The file a layer came from, if it still is there, else an empty string."""
    return str(source_path) if source_path and Path(str(source_path)).exists() else ""


def installation_warning(python: str | None = None, pyside: str | None = None) -> str:
    """A sentence when this Python and Qt are known to abort together, else an empty string."""
    python = python or platform.python_version()
    pyside = _pyside_version() if pyside is None else pyside
    if not pyside or _numbers(python) >= (3, 12) or _numbers(pyside) < (6, 12):
        return ""
    return (
        f"PySide6 {pyside} makes Python {python} abort after some time; save your work and install"
        ' "PySide6_Essentials>=6.11.2,<6.12"'
    )


def _pyside_version() -> str:
    try:
        return metadata.version("PySide6_Essentials")
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
