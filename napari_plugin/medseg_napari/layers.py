"""Scans and label maps to napari layers and back, exactly.

Rule zero: napari is never given a rotation, a shear or a negative scale. Every volume is turned
to its closest I, P, L order (a transpose and flips, no interpolation) and placed with a positive
`scale` and a `translate` in millimetres. The world that results grows to inferior, posterior and
left, which is ``(-z, y, x)`` of DICOM's LPS; in it napari's default camera shows the patient's
right on the left in the three planes, and does not mirror in 3-D.

What the display cannot hold (the source grid, the slices a series came from) travels in
``layer.metadata["medseg"]``, so that the way back is bit-exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.conventions import (
    IPL,
    Reorientation,
    grid_from_ipl,
    ipl_placement,
    obliquity_degrees,
)
from medseg.volume.label_map import as_label_values, present_values
from medseg_napari.naming import colormap_of, complete_table, features_of
from medseg_napari.window import contrast_limits

KEY = "medseg"
AXES = ("I", "P", "L")
SHOWN_OBLIQUE_DEGREES = 1.0

LayerTuple = tuple[npt.NDArray[Any], dict[str, Any], str]


class Source(TypedDict):
    """What ``layer.metadata["medseg"]`` keeps.

    Parameters
    ----------
    grid : Grid
        Where the voxels lay before they were turned for display.
    modality : str
        DICOM modality word, or ``""``.
    provenance : Provenance
        Files and unique identifiers; never patient text.
    table : LabelTable or None
        Of a label map.
    obliquity_degrees : float
        Angle between the voxel axes and the patient's; the display leaves it out.
    """

    grid: Grid
    modality: str
    provenance: Provenance
    table: LabelTable | None
    obliquity_degrees: float


def layer_from_scan(scan: Scan, name: str) -> LayerTuple:
    """An Image layer of `scan`.

    Parameters
    ----------
    scan : Scan
        One channel gives a layer of axes I, P, L; more give C, I, P, L.
    name : str
        What the layer is called; oblique scans get a badge.

    Returns
    -------
    tuple
        Data, attributes and ``"image"``, as napari takes them.
    """
    source = _source(scan.grid, scan.provenance, modality=scan.modality)
    attributes = _attributes(source, name)
    voxels = _turn(scan.grid).apply(scan.voxels)
    if scan.channels == 1:
        voxels = voxels[0]
    else:
        _lead_with_channels(attributes)
    attributes["contrast_limits"] = contrast_limits(scan)
    attributes["colormap"] = "gray"
    return voxels, attributes, "image"


def layer_from_labels(labels: LabelMap, name: str) -> LayerTuple:
    """A Labels layer of `labels`, with names, colours and volumes.

    Parameters
    ----------
    labels : LabelMap
        On any grid.
    name : str
        What the layer is called.

    Returns
    -------
    tuple
        Data (a writable copy, for painting), attributes and ``"labels"``.
    """
    source = _source(labels.grid, labels.provenance, table=labels.table)
    attributes = _attributes(source, name)
    values = np.array(_turn(labels.grid).apply(labels.values), order="C")
    attributes["features"] = features_of(labels)
    attributes["colormap"] = colormap_of(labels.table)
    attributes["opacity"] = 0.5
    return values, attributes, "labels"


def scan_from_layer(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Scan:
    """The scan that an Image layer shows.

    Parameters
    ----------
    data : ndarray, shape (I, P, L) or (C, I, P, L)
        The layer's data.
    attributes : mapping
        The layer's attributes, as ``layer.as_layer_data_tuple()`` gives them.

    Returns
    -------
    Scan
        On the source grid when medseg made the layer (see :func:`is_ours`), else on the grid its
        scale and translate describe.

    Raises
    ------
    GeometryError
        When the layer is not a volume.
    """
    _check_volume(data, attributes, allowed=(3, 4))
    turned = data if data.ndim == 4 else data[None]
    source = source_of(data, attributes)
    if source is None:
        return Scan(turned, foreign_grid(data, attributes))
    voxels = _turn(source["grid"]).undo(turned)
    return Scan(voxels, source["grid"], source["modality"], source["provenance"])


def labels_from_layer(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> LabelMap:
    """The label map that a Labels layer shows.

    Parameters
    ----------
    data : ndarray of int, shape (I, P, L)
        The layer's data.
    attributes : mapping
        The layer's attributes, as ``layer.as_layer_data_tuple()`` gives them.

    Returns
    -------
    LabelMap
        On the source grid when medseg made the layer. Values painted without a name are added
        to the table as ``"label 7"``.

    Raises
    ------
    GeometryError
        When the layer is not a volume.
    """
    _check_volume(data, attributes, allowed=(3,))
    values = as_label_values(np.asarray(data))
    source = source_of(data, attributes)
    known = source["table"] if source else None
    table = complete_table(known or LabelTable(()), present_values(values))
    if source is None:
        return LabelMap(values, foreign_grid(data, attributes), table)
    turned = _turn(source["grid"]).undo(values)
    return LabelMap(turned, source["grid"], table, source["provenance"])


def source_of(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Source | None:
    """What medseg knows of a layer, or None when it did not make it or it has been moved since."""
    source: Source | None = attributes.get("metadata", {}).get(KEY)
    if source is None or not isinstance(source.get("grid"), Grid):
        return None
    target = _turn(source["grid"]).target
    scale, translate = ipl_placement(_turn(source["grid"]).target)
    unmoved = (
        data.shape[-3:] == target.shape
        and np.allclose(np.asarray(attributes["scale"])[-3:], scale, atol=1e-6)
        and np.allclose(np.asarray(attributes["translate"])[-3:], translate, atol=1e-3)
    )
    return source if unmoved else None


def foreign_grid(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Grid:
    """The grid of a layer that medseg did not make: its axes taken as I, P, L, its units as mm.

    Parameters
    ----------
    data : ndarray
        The layer's data; its last three axes are space.
    attributes : mapping
        With `scale` and `translate`.

    Returns
    -------
    Grid

    Raises
    ------
    GeometryError
        When the layer is also rotated or sheared, which a scale and a translate cannot say.
    """
    _check_straight(attributes)
    scale, translate = (np.asarray(attributes[key])[-3:] for key in ("scale", "translate"))
    return grid_from_ipl(data.shape[-3:], scale, translate)


def _turn(grid: Grid) -> Reorientation:
    return Reorientation.towards(grid, IPL)


def _source(
    grid: Grid, provenance: Provenance, *, modality: str = "", table: LabelTable | None = None
) -> Source:
    return Source(
        grid=grid,
        modality=modality,
        provenance=provenance,
        table=table,
        obliquity_degrees=obliquity_degrees(grid),
    )


def _attributes(source: Source, name: str) -> dict[str, Any]:
    scale, translate = ipl_placement(_turn(source["grid"]).target)
    angle = source["obliquity_degrees"]
    badge = f" (oblique {angle:.0f}°)" if angle >= SHOWN_OBLIQUE_DEGREES else ""
    return {
        "name": name + badge,
        "scale": scale,
        "translate": translate,
        "units": ("mm", "mm", "mm"),
        "axis_labels": AXES,
        "metadata": {KEY: source},
    }


def _lead_with_channels(attributes: dict[str, Any]) -> None:
    """Put a channel axis before I, P, L."""
    attributes["scale"] = (1.0, *attributes["scale"])
    attributes["translate"] = (0.0, *attributes["translate"])
    attributes["units"] = ("pixel", *attributes["units"])
    attributes["axis_labels"] = ("C", *AXES)


def _check_straight(attributes: Mapping[str, Any]) -> None:
    size = len(attributes["scale"])
    straight: dict[str, Any] = {"rotate": np.eye(size), "shear": 0.0, "affine": np.eye(size + 1)}
    for key, expected in straight.items():
        if not np.allclose(np.asarray(attributes.get(key, expected)), expected, atol=1e-6):
            raise GeometryError(
                f"layer '{attributes.get('name', '')}' is turned by its own {key}, which medseg"
                " does not follow; open its file with medseg instead"
            )


def _check_volume(
    data: npt.NDArray[Any], attributes: Mapping[str, Any], *, allowed: tuple[int, ...]
) -> None:
    if data.ndim not in allowed or attributes.get("rgb", False):
        name = attributes.get("name", "this layer")
        raise GeometryError(
            f"layer '{name}' has shape {tuple(data.shape)}; medseg needs a volume of three axes,"
            " such as a scan opened with medseg"
        )
