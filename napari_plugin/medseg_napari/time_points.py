"""Several volumes at one place as one layer with an axis of time, and one of them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.volume import Scan
from medseg.volume.conventions import IPL, Reorientation
from medseg_napari.layers import KEY, LayerTuple, layer_from_scan, lead_with, source_of


def layer_from_volumes(
    scans: Sequence[Scan], name: str, *, window: tuple[float, float] | None = None
) -> LayerTuple:
    """An Image layer of time points (or phases) that share a grid, with axes T, I, P, L.

    One alone gives what :func:`layer_from_scan` does.

    Raises
    ------
    GeometryError
        When the volumes do not share a grid, or have channels.
    """
    first = scans[0]
    if len(scans) == 1:
        return layer_from_scan(first, name, window=window)
    if any(scan.channels > 1 or not scan.grid.same_as(first.grid) for scan in scans):
        raise GeometryError(
            f"the {len(scans)} volumes of '{name}' do not share one grid; open them one by one"
        )
    _, attributes, kind = layer_from_scan(first, name, window=window)
    lead_with(attributes, "T")
    data = np.stack([Reorientation.towards(scan.grid, IPL).apply(scan.voxels)[0] for scan in scans])
    return data, attributes, kind


def time_point(data: npt.NDArray[Any], attributes: Mapping[str, Any], number: int) -> LayerTuple:
    """Volume `number` (from 0) of a layer of axes T, I, P, L, as a layer of its own."""
    source = {**attributes["metadata"][KEY], "lead": "", "time_step_s": 0.0}
    spatial = ("scale", "translate", "units", "axis_labels")
    taken: dict[str, Any] = {key: tuple(attributes[key])[1:] for key in spatial}
    taken |= {key: attributes[key] for key in ("contrast_limits", "colormap")}
    taken |= {"name": f"{attributes['name']}, time {number + 1}", "metadata": {KEY: source}}
    return np.asarray(data[number]), taken, "image"


def shown_number(layer: Any, point: Sequence[float]) -> int:
    """Which time point shows, from 0, by the world coordinates of the sliders."""
    step = round((float(point[-4]) - float(layer.translate[0])) / float(layer.scale[0]))
    return int(min(max(step, 0), layer.data.shape[0] - 1))


def series_from_layer(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Scan | None:
    """All time points of a layer as the channels of one scan, for a file that can say so.

    None when the layer has no axis T, or no time between its points is known.
    """
    source = source_of(data, attributes)
    step_s = source.get("time_step_s", 0.0) if source else 0.0
    if source is None or source.get("lead") != "T" or not step_s:
        return None
    voxels = Reorientation.towards(source["grid"], IPL).undo(np.asarray(data))
    return Scan(voxels, source["grid"], source["modality"], source["provenance"], step_s)
