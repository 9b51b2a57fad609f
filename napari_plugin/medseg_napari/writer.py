"""napari's writers: a layer back onto the grid of the scan it belongs to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from medseg_napari.editing.saved_layers import mark_saved
from medseg_napari.layers import adopt, labels_from_layer, scan_from_layer, source_of
from medseg_napari.time_points import series_from_layer


def write_labels_layer(path: str, data: npt.NDArray[Any], attributes: dict[str, Any]) -> list[str]:
    """Write one Labels layer in the format that the suffix of `path` names; the path written."""
    from medseg.writing import write_labels

    placed = attributes
    if source_of(data, attributes) is None:
        placed = adopt(data, attributes, _shown_layers())
    written = [str(write_labels(labels_from_layer(data, placed), Path(path)))]
    mark_saved(data, attributes)
    return written


def write_image_layer(path: str, data: npt.NDArray[Any], attributes: dict[str, Any]) -> list[str]:
    """Write one Image layer as NIfTI, on the grid it was read from; the path written."""
    from medseg.writing import write_scan

    scan = series_from_layer(data, attributes) or scan_from_layer(data, attributes)
    return [str(write_scan(scan, Path(path)))]


def _shown_layers() -> list[tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    """Data and attributes of the current viewer's layers; none outside napari."""
    if "napari.viewer" not in sys.modules:
        return []
    from napari import current_viewer

    viewer = current_viewer()
    return [layer.as_layer_data_tuple()[:2] for layer in viewer.layers] if viewer else []
