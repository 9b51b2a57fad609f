"""napari's readers: each looks briefly, returns None for what is not its own, and reads later."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from medseg.errors import InputError, SelectionError
from medseg.volume import Scan
from medseg_napari.file_probe import (
    holds_dicom,
    is_label_file,
    is_volume_file,
    looks_like_labels,
    volumes_of_case,
)
from medseg_napari.layers import LayerTuple, layer_from_labels, layer_from_scan

ReadLayers = Callable[[str | list[str]], list[LayerTuple]]


def volume_reader(path: str | list[str]) -> ReadLayers | None:
    """A reader of NIfTI, NRRD or MetaImage files, or of a folder of one case's; else None."""
    ours = (is_volume_file(part) or bool(volumes_of_case(part)) for part in _paths(path))
    return read_layers if all(ours) else None


def dicom_reader(path: str | list[str]) -> ReadLayers | None:
    """A reader of DICOM files and folders, or None when a brief look finds no DICOM."""
    return read_layers if all(map(holds_dicom, _paths(path))) else None


def read_layers(path: str | list[str]) -> list[LayerTuple]:
    """The layers of each path, as napari takes them.

    Label maps, by their header or by how their voxels behave, give Labels layers.
    """
    from medseg_napari.display.setup import install_in_current_viewer

    layers = [layer for file in _paths(path) for layer in layers_of_path(file)]
    install_in_current_viewer()
    return layers


def layers_of_path(path: Path) -> list[LayerTuple]:
    """The layers of one file or folder, as :func:`read_layers` gives them, in no viewer yet."""
    from medseg.reading import read_labels, read_scan
    from medseg.reading.file_names import without_suffix

    if volumes := volumes_of_case(path):
        return [layer for volume in volumes for layer in layers_of_path(volume)]
    name = without_suffix(path)
    if is_label_file(path):
        return [layer_from_labels(read_labels(path), name)]
    try:
        scan = read_scan(path)
    except SelectionError:
        return _read_every_series(path)
    if path.is_file() and looks_like_labels(scan):
        return [layer_from_labels(read_labels(path), name)]
    if scan.provenance.format == "picture":
        name = path.name  # as napari's own reader calls it
    return [layer_from_scan(scan, name, window=_window(scan))]


def _read_every_series(folder: Path) -> list[LayerTuple]:
    """One layer per DICOM series; what cannot be shown as a volume is told as a warning."""
    from medseg.discovery import find_scans
    from medseg.reading import read_scan

    layers: list[LayerTuple] = []
    left_out: list[InputError] = []
    for source in find_scans(folder):
        if not source.series_uid:
            continue
        try:
            scan = read_scan(source.path, series=source.series_uid)
        except InputError as problem:
            left_out.append(problem)
        else:
            layers.append(layer_from_scan(scan, source.name, window=_window(scan)))
    if left_out and not layers:
        raise left_out[0]
    for why in left_out:
        warnings.warn(f"left out: {why}", stacklevel=2)
    return layers


def _window(scan: Scan) -> tuple[float, float] | None:
    """Black and white level that the DICOM header asks for."""
    from medseg.discovery.series_list import window_of

    window = window_of(scan)
    return window.limits if window else None


def _paths(path: str | list[str]) -> list[Path]:
    return [Path(part) for part in ([path] if isinstance(path, str) else path)]
