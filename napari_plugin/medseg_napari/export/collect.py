"""From layers to what can be saved: the labels on their own grid, and the scan under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.reading.file_names import without_suffix
from medseg.volume import Grid, Provenance
from medseg_napari.export.export import file_stem
from medseg_napari.export.formats import Subject
from medseg_napari.layers import (
    FOREIGN,
    MAP_KEY,
    adopt,
    foreign_grid,
    labels_from_layer,
    scan_from_layer,
    source_of,
    without_place,
)
from medseg_napari.run_record import maker_of, run_facts, runs_of

Layer = tuple[npt.NDArray[Any], Mapping[str, Any]]
"""Data and attributes of a napari layer."""

_PLAIN_STEM = "segmentation"


def scan_under(labels: Layer, images: Sequence[Layer]) -> int | None:
    """Row of the last image layer that lies on the grid of a Labels layer, if there is one.

    A time series or a map of probabilities never does.
    """
    wanted = _grid_of(labels[0], _with_source(labels, images))
    fits = [row for row, image in enumerate(images) if _lies_on(image, wanted)]
    return fits[-1] if fits else None


def subject_of(labels: Layer, scan: Layer | None, *, screenshot: bytes = b"") -> Subject:
    """What can be saved of a Labels layer; `screenshot` is a PNG of the canvas."""
    data, attributes = labels
    adopted = _with_source(labels, [scan] if scan else [])
    window = scan[1].get("contrast_limits") if scan else None
    return Subject(
        labels=replace(
            without_place(labels_from_layer(data, adopted)), creator=maker_of(data, attributes)
        ),
        scan=without_place(scan_from_layer(*scan)) if scan else None,
        window=(float(window[0]), float(window[1])) if window is not None else None,
        facts=run_facts(runs_of(attributes)),
        screenshot=screenshot,
    )


def stem_for(provenance: Provenance) -> str:
    """What the names of files start with, unless the person chooses: never a patient's name.

    The name of a volume's one file with ``_seg``; ``"segmentation"`` for DICOM, whose folders are
    often named after patients.
    """
    if provenance.format == "dicom" or len(provenance.files) != 1:
        return _PLAIN_STEM
    stem = file_stem(without_suffix(provenance.files[0]))
    return stem if stem.endswith("_seg") else f"{stem}_seg"


def provenance_of(labels: Layer, images: Sequence[Layer]) -> Provenance:
    """Where the scan under a Labels layer came from; cheap."""
    source = source_of(labels[0], _with_source(labels, images))
    return source["provenance"] if source else FOREIGN


def snapshot(labels: Layer) -> Layer:
    """A copy of a Labels layer that later painting does not change."""
    return np.array(labels[0]), labels[1]


def _with_source(labels: Layer, images: Sequence[Layer]) -> Mapping[str, Any]:
    """The attributes of labels, with the source of the scan they were drawn on by hand."""
    return labels[1] if source_of(*labels) is not None else adopt(*labels, images)


def _grid_of(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Grid | None:
    source = source_of(data, attributes)
    if source is not None:
        return source["grid"]
    try:
        return foreign_grid(data, attributes)
    except (GeometryError, ValueError):
        return None


def _lies_on(image: Layer, wanted: Grid | None) -> bool:
    source = source_of(*image)
    shows_time = source is not None and source.get("lead") == "T"
    if wanted is None or shows_time or MAP_KEY in image[1].get("metadata", {}):
        return False
    grid = _grid_of(*image)
    return grid is not None and grid.same_as(wanted)
