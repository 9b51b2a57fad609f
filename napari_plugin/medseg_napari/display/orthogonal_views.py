"""The planes through a point as pictures: slices of all shown layers, laid over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg_napari.display.commands import PLANES
from medseg_napari.display.overlays import placed_in_patient
from medseg_napari.display_settings import setting
from medseg_napari.layers import KEY, space_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

_ENDS = (("S", "I"), ("A", "P"), ("R", "L"))
_LEVELS = 256

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PlanePicture:
    """A plane of the patient, as it is to be drawn.

    Parameters
    ----------
    plane : str
    pixels : ndarray of uint8, shape (rows, columns, 3)
        Red, green, blue; already mirrored where the person wants the right on the right.
    low_mm, high_mm : tuple of float
        World coordinates at the edges of the first row and column, and of the last ones.
    cross_mm : tuple of float
        Where the point is, along rows and columns.
    placed : bool
        Whether it is known where the patient's left and right are.
    """

    plane: str
    pixels: Pixels
    low_mm: tuple[float, float]
    high_mm: tuple[float, float]
    cross_mm: tuple[float, float]
    placed: bool = True

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        return (abs(self.high_mm[0] - self.low_mm[0]), abs(self.high_mm[1] - self.low_mm[1]))

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Patient's directions at the top, bottom, left and right; empty where not known."""
        if not self.placed:
            return ("", "", "", "")
        _, rows, columns = PLANES[self.plane]
        across = _ENDS[columns] if self.low_mm[1] < self.high_mm[1] else _ENDS[columns][::-1]
        return (*_ENDS[rows], *across)

    @property
    def cross(self) -> tuple[float, float]:
        """Where the point is, as fractions of height and width from the top left."""
        down, right = (
            (at - low) / (high - low)
            for at, low, high in zip(self.cross_mm, self.low_mm, self.high_mm, strict=True)
        )
        return down, right

    def point_at(self, down: float, right: float) -> dict[int, float]:
        """World coordinates by axis (0, 1, 2 of I, P, L) of fractions of height and width."""
        _, *axes = PLANES[self.plane]
        return {
            axis: low + share * (high - low)
            for axis, share, low, high in zip(
                axes, (down, right), self.low_mm, self.high_mm, strict=True
            )
        }


def other_planes(viewer: ViewerModel) -> tuple[str, ...]:
    """The planes that the canvas does not show; all of them in 3-D."""
    if viewer.dims.ndim < 3:
        return ()
    shown = viewer.dims.order[-3] - (viewer.dims.ndim - 3) if viewer.dims.ndisplay == 2 else None
    return tuple(plane for plane, (through, _, _) in PLANES.items() if through != shown)


def picture_of(viewer: ViewerModel, plane: str) -> PlanePicture | None:
    """A plane through the point at which the sliders stand; None when no layer of ours shows."""
    layers = [layer for layer in viewer.layers if _drawable(layer)]
    ours = [layer for layer in layers if KEY in layer.metadata]
    if not ours:
        return None
    point = np.asarray(viewer.dims.point, float)[-3:]
    lead = tuple(float(coordinate) for coordinate in viewer.dims.point[:-3])
    through, *axes = PLANES[plane]
    first = ours[0]
    samples = [_world(first, axis) for axis in axes]
    canvas = np.zeros((len(samples[0]), len(samples[1]), 3), np.uint8)
    for layer in layers:
        part = _slice(layer, lead, {through: np.array([point[through]])} | _by(axes, samples))
        if part is not None:
            _draw(canvas, layer, part.reshape(*_size(part, layer)))
    edges = [_edges(first, axis) for axis in axes]
    if plane != "sagittal" and setting("display", "convention") == "neurological":
        canvas, edges[1] = np.ascontiguousarray(canvas[:, ::-1]), edges[1][::-1]
    return PlanePicture(
        plane,
        canvas,
        (edges[0][0], edges[1][0]),
        (edges[0][1], edges[1][1]),
        (float(point[axes[0]]), float(point[axes[1]])),
        placed_in_patient(viewer),
    )


def _by(axes: Sequence[int], samples: Sequence[npt.NDArray[Any]]) -> dict[int, npt.NDArray[Any]]:
    return dict(zip(axes, samples, strict=True))


def _drawable(layer: Any) -> bool:
    from napari.layers import Image, Labels

    return isinstance(layer, Image | Labels) and layer.visible and layer.ndim >= 3


def _placed(layer: Any, axis: int) -> tuple[int, float, float]:
    """Voxels, spacing and place of the first voxel along I, P or L."""
    count = space_of(layer.data, {"rgb": getattr(layer, "rgb", False)})[axis]
    return count, float(layer.scale[-3:][axis]), float(layer.translate[-3:][axis])


def _world(layer: Any, axis: int) -> npt.NDArray[Any]:
    count, scale, translate = _placed(layer, axis)
    return translate + scale * np.arange(count)


def _edges(layer: Any, axis: int) -> tuple[float, float]:
    count, scale, translate = _placed(layer, axis)
    return translate - scale / 2, translate + scale * (count - 0.5)


def _slice(
    layer: Any, lead: tuple[float, ...], world: dict[int, npt.NDArray[Any]]
) -> npt.NDArray[Any] | None:
    """Values at the crossings of world coordinates of the three axes; None outside the layer."""
    data = _volume(layer, lead)
    picks, outside = [], []
    for axis in range(3):
        count, scale, translate = _placed(layer, axis)
        index = np.rint((world[axis] - translate) / scale).astype(int)
        outside.append((index < 0) | (index >= count))
        picks.append(np.clip(index, 0, count - 1))
    if any(beyond.all() for beyond in outside):
        return None
    values = np.array(_crossings(data, picks))
    for axis, beyond in enumerate(outside):
        if beyond.any():
            values[(slice(None),) * axis + (beyond,)] = 0
    return values


def _volume(layer: Any, lead: tuple[float, ...]) -> Any:
    """The channel or time point of a layer at which the sliders stand."""
    data, spare = layer.data, layer.ndim - 3
    for axis, coordinate in enumerate(lead[len(lead) - spare :]):
        step = round((coordinate - float(layer.translate[axis])) / float(layer.scale[axis]))
        data = data[min(max(step, 0), len(data) - 1)]
    return data


def _crossings(data: Any, picks: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """`data` at the crossings of three lists of indices, by slices where they are runs."""
    runs = tuple(
        slice(int(pick[0]), int(pick[0]) + len(pick)) if _is_run(pick) else None for pick in picks
    )
    taken = data[tuple(run if run is not None else slice(None) for run in runs)]
    for axis, (run, pick) in enumerate(zip(runs, picks, strict=True)):
        taken = taken if run is not None else np.take(taken, pick, axis=axis)
    return np.asarray(taken)


def _is_run(pick: npt.NDArray[Any]) -> bool:
    return bool((np.diff(pick) == 1).all())


def _size(part: npt.NDArray[Any], layer: Any) -> tuple[int, ...]:
    """Shape without the axis that is looked through."""
    colours = part.shape[3:] if getattr(layer, "rgb", False) else ()
    rows, columns = _without_one(part.shape[:3])
    return (rows, columns, *colours)


def _without_one(shape: tuple[int, ...]) -> tuple[int, int]:
    through = shape.index(1)
    rest = [count for axis, count in enumerate(shape) if axis != through]
    return rest[0], rest[1]


def _draw(canvas: Pixels, layer: Any, values: npt.NDArray[Any]) -> None:
    """Lay a slice of a layer over the canvas."""
    if getattr(layer, "rgb", False):
        canvas[:] = values[..., :3]
        return
    if hasattr(layer, "selected_label"):
        table, levels = _label_table(layer, values), np.maximum(values, 0)
    else:
        table, levels = _grey_table(layer), _grey_levels(layer, values)
    table[:, 3] *= float(layer.opacity)
    added = str(layer.blending) == "additive"
    if not added and (table[:, 3] == 1).all():
        canvas[:] = np.take((table[:, :3] * 255).astype(np.uint8), levels, axis=0)
        return
    shows = np.take(table[:, 3] > 0, levels)
    colours = np.take(table, levels[shows], axis=0)
    share = colours[:, 3:]
    under = canvas[shows] * (1.0 if added else 1 - share)
    canvas[shows] = np.clip(under + colours[:, :3] * share * 255, 0, 255)


def _grey_levels(layer: Any, values: npt.NDArray[Any]) -> Pixels:
    black, white = (np.float32(limit) for limit in layer.contrast_limits)
    scaled = (values - black) * np.float32((_LEVELS - 1) / (white - black))
    np.clip(scaled, 0, _LEVELS - 1, out=scaled)
    if np.issubdtype(values.dtype, np.floating):
        np.nan_to_num(scaled, copy=False)
    return scaled.astype(np.uint8)


def _grey_table(layer: Any) -> npt.NDArray[np.float32]:
    return np.array(layer.colormap.map(np.linspace(0, 1, _LEVELS)), np.float32)


def _label_table(layer: Any, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    highest = int(values.max(initial=0))
    table = np.array(layer.colormap.map(np.arange(highest + 1)), np.float32)
    if layer.show_selected_label:
        table[np.arange(highest + 1) != layer.selected_label] = 0
    return table
