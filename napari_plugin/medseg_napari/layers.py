"""Scans and label maps to napari layers and back, exactly.

Rule zero: napari is never given a rotation, a shear or a negative scale. Every volume is turned
to its closest I, P, L order (a transpose and flips, no interpolation) and placed with a positive
`scale` and a `translate` in millimetres. The world that results grows to inferior, posterior and
left, which is ``(-z, y, x)`` of DICOM's LPS; in it napari's default camera shows the patient's
right on the left in the three planes, and does not mirror in 3-D.

What the display cannot hold (the source grid, the slices a series came from) travels in
``layer.metadata["medseg"]``, so that the way back is bit-exact.

Which side is the patient's left is known where a reader of medseg said so, in
``Provenance.laterality_known``; letters, positions and files ask :func:`knows_orientation` or that
field. A layer that another plugin made has it never, whatever its axes look like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.volume import Grid, LabelMap, LabelTable, Provenance, Scan
from medseg.volume.contrast import contrast_limits, hides, value_range
from medseg.volume.conventions import (
    IPL,
    Reorientation,
    grid_from_ipl,
    ipl_placement,
    obliquity_degrees,
)
from medseg.volume.label_map import as_label_values, present_values
from medseg_napari.display_settings import setting
from medseg_napari.label_features import colormap_of, complete_table, features_of

KEY = "medseg"
MAP_KEY = "medseg_map"
"""Stands in the metadata of layers that show probabilities, which are no scans."""

AXES = ("I", "P", "L")
SHOWN_OBLIQUE_DEGREES = 1.0
FOREIGN = Provenance("another plugin", laterality_known=False)
"""Of a layer that medseg did not make: nobody said where the patient's left is."""
UNKNOWN_PLACE = (
    "This layer was not opened with medseg: its axes are taken as inferior, posterior, left and its"
    " scale as millimetres. Open the file with medseg to be sure."
)

TRANSFORM = ("scale", "translate", "rotate", "shear", "affine")
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
    obliquity_degrees : float
        Angle between the voxel axes and the patient's; the display leaves it out.
    window, first_limits, value_range : tuple of float or None
        Black and white level that the file asks for, those that were shown first, and about the
        lowest and highest intensity.
    lead : str
        Name of an axis before I, P, L: ``"C"`` of channels, ``"T"`` of time points, or ``""``.
    time_step_s : float
        Seconds between time points; 0 when not known.
    """

    grid: Grid
    modality: str
    provenance: Provenance
    table: LabelTable | None
    obliquity_degrees: float
    window: tuple[float, float] | None
    first_limits: tuple[float, float] | None
    value_range: tuple[float, float] | None
    lead: str
    time_step_s: float


def layer_from_scan(
    scan: Scan, name: str, *, window: tuple[float, float] | None = None
) -> LayerTuple:
    """An Image layer of `scan`, as napari takes layers.

    Parameters
    ----------
    scan : Scan
        One channel gives a layer of axes I, P, L; more give C, I, P, L, or T, I, P, L where they
        are points of time. A picture in colour is shown in its colours.
    name : str
        Oblique and tilted scans and pictures get a badge.
    window : tuple of float, optional
        Black and white level that the file asks for; not shown first where it hides the data.
    """
    limits = contrast_limits(scan) if window is None or hides(window, scan) else window
    source = _source(scan.grid, scan.provenance, modality=scan.modality)
    source["window"], source["first_limits"] = window, limits
    source["value_range"] = value_range(scan)
    attributes = _attributes(source, name)
    voxels = _turn(scan.grid).apply(scan.voxels)
    if (
        not scan.provenance.has_physical_size
        and scan.channels == 3
        and scan.voxels.dtype == np.uint8
    ):
        return np.moveaxis(voxels, 0, -1), {**attributes, "rgb": True}, "image"
    if scan.channels == 1:
        voxels = voxels[0]
    else:
        lead_with(attributes, "T" if scan.time_step_s else "C", step_s=scan.time_step_s)
    attributes["contrast_limits"] = limits
    attributes["colormap"] = "gray"
    return voxels, attributes, "image"


def layer_from_labels(labels: LabelMap, name: str) -> LayerTuple:
    """A Labels layer with names, colours and volumes; its data is a copy, for painting."""
    source = _source(labels.grid, labels.provenance, table=labels.table)
    attributes = _attributes(source, name)
    values = np.array(_turn(labels.grid).apply(labels.values), order="C")
    attributes["features"] = features_of(labels)
    attributes["colormap"] = colormap_of(labels.table)
    attributes["opacity"] = setting("display", "overlay_opacity")
    return values, attributes, "labels"


def scan_from_layer(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Scan:
    """The scan of an Image layer (I, P, L) or (C, I, P, L), on its source grid where that is known.

    Raises
    ------
    GeometryError
        When the layer is not a volume, or shows several time points.
    """
    source = source_of(data, attributes)
    _check_volume(data, attributes, allowed=(3, 4), source=source)
    turned = _channels_first(data, attributes)
    if source is None:
        return Scan(turned, foreign_grid(data, attributes), provenance=FOREIGN)
    voxels = _turn(source["grid"]).undo(turned)
    return Scan(voxels, source["grid"], source["modality"], source["provenance"])


def labels_from_layer(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> LabelMap:
    """The label map of a Labels layer (I, P, L), on its source grid where that is known.

    Values painted without a name are added to the table as ``"label 7"``.

    Raises
    ------
    GeometryError
        When the layer is not a volume.
    """
    _check_volume(data, attributes, allowed=(3,))
    values = as_label_values(np.asarray(data))
    source = source_of(data, attributes)
    named = source["table"] if source else None
    table = complete_table(named or LabelTable(()), present_values(values))
    if source is None:
        return LabelMap(values, foreign_grid(data, attributes), table, FOREIGN)
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
        space_of(data, attributes) == target.shape
        and not turned_by(attributes)
        and np.allclose(np.asarray(attributes["scale"])[-3:], scale, atol=1e-6)
        and np.allclose(np.asarray(attributes["translate"])[-3:], translate, atol=1e-3)
    )
    return source if unmoved else None


def space_of(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> tuple[int, ...]:
    """Voxels along the axes I, P, L of a layer's data; colours, channels and time left out."""
    return tuple(data.shape[-4:-1] if attributes.get("rgb", False) else data.shape[-3:])


def same_place(
    shape: Sequence[int],
    attributes: Mapping[str, Any],
    other_shape: Sequence[int],
    other: Mapping[str, Any],
) -> bool:
    """Whether two layers have the same voxels along the last three axes, at the same place."""
    if tuple(shape[-3:]) != tuple(other_shape[-3:]):
        return False
    pairs = zip(_transform(attributes), _transform(other), strict=True)
    return all(np.allclose(mine, theirs, atol=1e-3) for mine, theirs in pairs)


def attributes_of(layer: Any) -> dict[str, Any]:
    """The attributes of a layer that say where it lies and what medseg knows of it; cheap."""
    own = {name: getattr(layer, name) for name in ("name", *TRANSFORM[:-1], "metadata")}
    return own | {"affine": layer.affine.affine_matrix, "rgb": getattr(layer, "rgb", False)}


def knows_orientation(layer: Any) -> bool:
    """Whether it is known which side of a layer is the patient's left, right, front and back."""
    source = layer.metadata.get(KEY)
    if not source or not provenance_of(source).laterality_known:
        return False
    return source_of(layer.data, attributes_of(layer)) is not None


def adopt(
    data: npt.NDArray[Any],
    attributes: Mapping[str, Any],
    layers: Iterable[tuple[npt.NDArray[Any], Mapping[str, Any]]],
) -> dict[str, Any]:
    """Attributes with the source of that one of `layers` which has the same voxels and place.

    Labels drawn by hand in napari's own new layer so come back on the scan's grid. Unchanged when
    no layer fits.
    """
    for other_data, other in layers:
        source = source_of(other_data, other)
        if source is None or not same_place(data.shape, attributes, other_data.shape, other):
            continue
        return {**attributes, "metadata": {**attributes.get("metadata", {}), KEY: source}}
    return dict(attributes)


def is_foreign(layer: Any) -> bool:
    """Whether nobody but another plugin says where a volume lies."""
    attributes = attributes_of(layer)
    source = source_of(layer.data, attributes)
    return source is None or provenance_of(source).format == FOREIGN.format


def foreign_grid(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Grid:
    """The grid of a layer that medseg did not make: its axes taken as I, P, L, its units as mm.

    Raises
    ------
    GeometryError
        When the layer is also rotated or sheared, which a scale and a translate cannot say.
    """
    how = turned_by(attributes)
    if how:
        raise GeometryError(
            f"layer '{attributes.get('name', '')}' is turned by its own {how}, which medseg"
            " does not follow; open its file with medseg instead"
        )
    scale, translate = (np.asarray(attributes[key])[-3:] for key in ("scale", "translate"))
    return grid_from_ipl(data.shape[-3:], scale, translate)


def without_place(subject: Scan | LabelMap) -> Any:
    """A scan or label map that nobody placed, on the grid that stands for spacing alone.

    It is the one of a NIfTI file without forms, which is how it is written; others stay.
    """
    from nibabel import Nifti1Header

    if subject.provenance.format != FOREIGN.format:
        return subject
    header, grid = Nifti1Header(), subject.grid
    header.set_data_shape(grid.shape)
    header.set_zooms(grid.spacing_mm)
    return replace(subject, grid=Grid(grid.shape, header.get_base_affine()))


def provenance_of(source: Mapping[str, Any]) -> Provenance:
    """Provenance in a layer's `Source`; the usual one where a foreign layer only got a table."""
    provenance: Provenance = source.get("provenance") or Provenance()
    return provenance


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
        window=None,
        first_limits=None,
        value_range=None,
        lead="",
        time_step_s=0.0,
    )


def _attributes(source: Source, name: str) -> dict[str, Any]:
    scale, translate = ipl_placement(_turn(source["grid"]).target)
    unit = "mm" if source["provenance"].has_physical_size else "pixel"
    return {
        "name": name if _badge(source) in name else name + _badge(source),
        "scale": scale,
        "translate": translate,
        "units": (unit,) * 3,
        "axis_labels": AXES,
        "metadata": {KEY: source},
    }


def _badge(source: Source) -> str:
    """What a name must say of a place that is not what it seems."""
    tilt, angle = source["grid"].shear_degrees, source["obliquity_degrees"]
    if not source["provenance"].has_physical_size:
        return " (no size in mm)"
    if tilt >= SHOWN_OBLIQUE_DEGREES:
        return f" (tilted {tilt:.1f}°)"
    return f" (oblique {angle:.0f}°)" if angle >= SHOWN_OBLIQUE_DEGREES else ""


def lead_with(attributes: dict[str, Any], axis: str, *, step_s: float = 0.0) -> None:
    """Put an axis, C or T, before I, P, L of a layer's attributes; T in seconds where known."""
    attributes["metadata"][KEY] |= {"lead": axis, "time_step_s": step_s}
    attributes["scale"] = (step_s or 1.0, *attributes["scale"])
    attributes["translate"] = (0.0, *attributes["translate"])
    attributes["units"] = ("s" if step_s else "pixel", *attributes["units"])
    attributes["axis_labels"] = (axis, *AXES)


def _channels_first(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> npt.NDArray[Any]:
    """The data as (C, I, P, L)."""
    if attributes.get("rgb", False):
        return np.moveaxis(data[..., :3], -1, 0)
    return data if data.ndim == 4 else data[None]


def turned_by(attributes: Mapping[str, Any]) -> str:
    """Which of a layer's own transforms turns or leans it; empty for none."""
    size = len(attributes["scale"])
    straight: dict[str, Any] = {"rotate": np.eye(size), "shear": 0.0, "affine": np.eye(size + 1)}
    return next(
        (
            key
            for key, expected in straight.items()
            if not np.allclose(np.asarray(attributes.get(key, expected)), expected, atol=1e-6)
        ),
        "",
    )


def _transform(attributes: Mapping[str, Any]) -> list[npt.NDArray[Any]]:
    """Scale and translate along the last three axes, rotation and affine of them, and shear."""
    size = len(attributes["scale"])
    rotate = np.asarray(attributes.get("rotate", np.eye(size)))
    affine = np.asarray(attributes.get("affine", np.eye(size + 1)))
    shear = np.atleast_1d(np.asarray(attributes.get("shear", 0.0)))
    return [
        np.asarray(attributes["scale"])[-3:],
        np.asarray(attributes["translate"])[-3:],
        rotate[-3:, -3:],
        affine[-4:, -4:],
        shear[-3:] if shear.size >= 3 else np.zeros(3),
    ]


def _check_volume(
    data: npt.NDArray[Any],
    attributes: Mapping[str, Any],
    *,
    allowed: tuple[int, ...],
    source: Source | None = None,
) -> None:
    name = attributes.get("name", "this layer")
    if source is not None and source.get("lead") == "T":
        raise GeometryError(
            f"layer '{name}' shows {data.shape[0]} time points; choose one with 'Time point as its"
            " own layer' in the Study panel and take that layer"
        )
    colours = source is None and attributes.get("rgb", False)
    if data.ndim not in allowed or colours:
        raise GeometryError(
            f"layer '{name}' has shape {tuple(data.shape)}; medseg needs a volume of three axes,"
            " such as a scan opened with medseg"
        )
