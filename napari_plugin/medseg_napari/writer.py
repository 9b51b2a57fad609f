"""napari's writers: a layer back onto the grid of the scan it belongs to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from medseg.errors import WriteError
from medseg_napari.editing.saved_layers import mark_saved
from medseg_napari.export.formats import orientation_obstacle
from medseg_napari.layers import (
    adopt,
    labels_from_layer,
    scan_from_layer,
    source_of,
    without_place,
)
from medseg_napari.time_points import series_from_layer


def write_labels_layer(path: str, data: npt.NDArray[Any], attributes: dict[str, Any]) -> list[str]:
    """Write one Labels layer in the format that the suffix of `path` names; the path written.

    A name without such a suffix gets .nii.gz.
    """
    placed = attributes
    if source_of(data, attributes) is None:
        placed = adopt(data, attributes, _shown_layers())
    written = write_placed(data, placed, with_ending(Path(path)))
    mark_saved(data, attributes)
    return [str(written)]


def write_placed(data: npt.NDArray[Any], attributes: Mapping[str, Any], path: Path) -> Path:
    """Write the voxels of a Labels layer that has the place of its scan.

    Raises
    ------
    WriteError
        When the file would say where the patient's left is, and nobody knows.
    """
    from medseg.writing import write_labels

    labels = without_place(labels_from_layer(data, attributes))
    reason = orientation_obstacle(labels, path.name)
    if reason:
        raise WriteError(f"'{path.name}' {reason}")
    return write_labels(labels, path)


def with_ending(path: Path, ending: str = ".nii.gz") -> Path:
    """`path` itself where its ending names a format of label maps, else with `ending`."""
    from medseg.writing import label_suffixes

    if path.name.lower().endswith(label_suffixes()):
        return path
    return path.with_name(path.name + ending)


def write_image_layer(path: str, data: npt.NDArray[Any], attributes: dict[str, Any]) -> list[str]:
    """Write one Image layer as NIfTI, on the grid it was read from; the path written."""
    from medseg.writing import write_scan

    scan = series_from_layer(data, attributes) or scan_from_layer(data, attributes)
    return [str(write_scan(without_place(scan), Path(path)))]


def _shown_layers() -> list[tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    """Data and attributes of the current viewer's layers; none outside napari."""
    if "napari.viewer" not in sys.modules:
        return []
    from napari import current_viewer

    viewer = current_viewer()
    return [layer.as_layer_data_tuple()[:2] for layer in viewer.layers] if viewer else []
