"""A Labels layer as the library's corrections see it: voxels, spacing, the scan below, rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, InputError
from medseg_napari.display.navigation import stepped_axis
from medseg_napari.editing.label_tables import table_of, visibility_of
from medseg_napari.layers import KEY, attributes_of, same_place
from medseg_napari.undo import put_values

if TYPE_CHECKING:
    from napari.components import Dims, LayerList
    from napari.layers import Image, Labels

    from medseg.editing import Edit, LabelStatistics, Rules

Three = tuple[float, float, float]


@dataclass(frozen=True)
class ToolOptions:
    """What the person set in the panel."""

    low: float = -200.0
    high: float = 300.0
    smooth_mm: float = 1.0
    grow_mm: float = 10.0
    over_labels: bool = False


@dataclass(frozen=True)
class Target:
    """Where a correction works.

    Parameters
    ----------
    layer : Labels
        Its data is a volume.
    value : int
    axis : int
        The axis that the slider steps along.
    image : Image or None
        The scan below, voxel for voxel.
    frozen : ndarray of int or None
        The layer's voxels as they were; without them, as they are.
    """

    layer: Labels
    value: int
    axis: int
    image: Image | None
    frozen: npt.NDArray[Any] | None = None

    @property
    def spacing_mm(self) -> Three:
        """Of the layer's three axes."""
        return spacing_of(self.layer)

    @property
    def values(self) -> npt.NDArray[Any]:
        """The layer's voxels."""
        return np.asarray(self.layer.data) if self.frozen is None else self.frozen

    def snapshot(self) -> Target:
        """With a copy of the voxels, for another thread to work on while the layer is painted."""
        return replace(self, frozen=np.array(self.layer.data))

    def intensities(self) -> npt.NDArray[Any]:
        """The voxels of the scan below; `InputError` when none lies on the same voxels."""
        if self.image is None:
            raise InputError("no scan lies under these labels voxel for voxel; open it first")
        return np.asarray(self.image.data)


def spacing_of(layer: Labels) -> Three:
    """Millimetres between voxels along the layer's axes."""
    i, p, el = (float(mm) for mm in layer.scale[-3:])
    return i, p, el


def target_of(layer: Labels | None, layers: LayerList, dims: Dims) -> Target:
    """Where a tool works now; an error without a layer, an active label, or a volume."""
    if layer is None:
        raise InputError("open or draw labels first; New labels makes a layer for the scan")
    if layer.data.ndim != 3:
        raise GeometryError(f"layer '{layer.name}' has {layer.data.ndim} axes; tools need three")
    value = int(layer.selected_label)
    if value == 0:
        raise InputError("choose an organ in the list first; the background is active now")
    return Target(layer, value, stepped_axis(dims), image_under(layer, layers))


def image_under(layer: Labels, layers: Iterable[Any]) -> Image | None:
    """The topmost Image that has the same voxels in the same place; a visible one if there is."""
    from napari.layers import Image

    images = [image for image in layers if isinstance(image, Image) and _same_voxels(image, layer)]
    return next(
        (image for image in reversed(images) if image.visible), images[-1] if images else None
    )


def _same_voxels(image: Image, layer: Labels) -> bool:
    shape, other = image.data.shape, layer.data.shape
    return shape == other and same_place(shape, attributes_of(image), other, attributes_of(layer))


def rules_of(layer: Labels, *, over_labels: bool = False) -> Rules:
    """What the tools may take of other labels; locked ones never."""
    from medseg.editing import Rules

    return Rules(over_labels=over_labels, locked=tuple(sorted(visibility_of(layer).locked)))


def commit(layer: Labels, edit: Edit) -> int:
    """Put an edit into a layer as one undoable step; how many voxels changed."""
    return put_values(layer, edit.values, where=edit.where) if edit.values.size else 0


def name_of(target: Target) -> str:
    """The name of the active label."""
    names = {label.value: label.name for label in table_of(target.layer)}
    return names.get(target.value, f"label {target.value}")


def statistics_of(layer: Labels) -> dict[int, LabelStatistics]:
    """Size and place of each label of a layer; a sheared grid is measured exactly."""
    from medseg.editing import label_statistics

    source = layer.metadata.get(KEY)
    voxel_mm3 = source["grid"].voxel_volume_mm3 if source and "grid" in source else None
    return label_statistics(
        np.asarray(layer.data), spacing_mm=spacing_of(layer), voxel_mm3=voxel_mm3
    )
