"""The library's corrections at work on a Labels layer: each is one undoable step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, InputError, LabelError
from medseg_napari.correcting.organs import add_organ, shown_of, table_of
from medseg_napari.layers import KEY
from medseg_napari.undoable import put_values

if TYPE_CHECKING:
    from napari.components import Dims, LayerList
    from napari.layers import Image, Labels

    from medseg.editing import Edit, LabelStatistics, Rules

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Choices:
    """What the person set in the panel.

    Parameters
    ----------
    low, high : float
        Intensities, for what is limited to a range.
    smooth_mm, grow_mm : float
        Width of smoothing, and how far to grow.
    over_labels : bool
        Whether tools may take voxels of other labels.
    """

    low: float = -200.0
    high: float = 300.0
    smooth_mm: float = 2.0
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
        The active label.
    axis : int
        The axis that the slider steps along.
    image : Image or None
        The scan below, voxel for voxel.
    """

    layer: Labels
    value: int
    axis: int
    image: Image | None

    @property
    def spacing_mm(self) -> Three:
        """Of the layer's three axes."""
        return spacing_of(self.layer)

    @property
    def values(self) -> npt.NDArray[Any]:
        """The layer's voxels."""
        return np.asarray(self.layer.data)

    def intensities(self) -> npt.NDArray[Any]:
        """The voxels of the scan below.

        Raises
        ------
        InputError
            When there is no scan on the same voxels.
        """
        if self.image is None:
            raise InputError("no scan lies under these labels voxel for voxel; open it first")
        return np.asarray(self.image.data)


def spacing_of(layer: Labels) -> Three:
    """Millimetres between voxels along the layer's axes."""
    i, p, el = (float(mm) for mm in layer.scale[-3:])
    return i, p, el


def target_of(layer: Labels | None, layers: LayerList, dims: Dims) -> Target:
    """Where a correction of `layer` works now.

    Raises
    ------
    InputError
        When there is no layer, or no label is chosen.
    GeometryError
        When the layer is not a volume.
    """
    if layer is None:
        raise InputError("open or draw labels first; New labels makes a layer for the scan")
    if layer.data.ndim != 3:
        raise GeometryError(f"layer '{layer.name}' has {layer.data.ndim} axes; tools need three")
    value = int(layer.selected_label)
    if value == 0:
        raise InputError("choose an organ in the list first; the background is active now")
    return Target(layer, value, stepped_axis(dims), image_under(layer, layers))


def stepped_axis(dims: Dims) -> int:
    """The axis of a volume that the slider steps along; 0 in 3-D."""
    if dims.ndisplay == 3 or dims.ndim < 3:
        return 0
    return max(0, int(dims.order[-3]) - (int(dims.ndim) - 3))


def image_under(layer: Labels, layers: Iterable[Any]) -> Image | None:
    """The topmost Image that has the same voxels in the same place; a visible one if there is."""
    from napari.layers import Image

    fitting = [one for one in layers if isinstance(one, Image) and _same_voxels(one, layer)]
    shown = [one for one in fitting if one.visible]
    found = shown or fitting
    return found[-1] if found else None


def _same_voxels(image: Image, layer: Labels) -> bool:
    return image.data.shape == layer.data.shape and all(
        np.allclose(getattr(image, key), getattr(layer, key), atol=1e-3)
        for key in ("scale", "translate")
    )


def rules_of(layer: Labels, *, over_labels: bool = False) -> Rules:
    """What the tools may take of other labels; locked ones never."""
    from medseg.editing import Rules

    return Rules(over_labels=over_labels, locked=tuple(sorted(shown_of(layer).locked)))


def commit(layer: Labels, edit: Edit) -> int:
    """Put an edit into a layer as one undoable step; how many voxels changed."""
    return put_values(layer, edit.values, where=edit.where) if edit.values.size else 0


def fill_between(target: Target, choices: Choices) -> str:
    """Fill between the slices of the shown plane."""
    from medseg.editing import fill_between_slices

    edit = fill_between_slices(
        target.values, target.value, spacing_mm=target.spacing_mm, axis=target.axis,
        rules=_rules(target, choices),
    )  # fmt: skip
    return _told(target, commit(target.layer, edit), "filled between slices")


def fill_holes(target: Target, choices: Choices) -> str:
    """Fill holes of the active label."""
    from medseg.editing import fill_holes as fill

    rules = _rules(target, choices)
    edit = fill(target.values, target.value, spacing_mm=target.spacing_mm, rules=rules)
    return _told(target, commit(target.layer, edit), "holes filled")


def keep_largest(target: Target, choices: Choices) -> str:
    """Keep the largest piece of the active label."""
    from medseg.editing import largest_component

    rules = _rules(target, choices)
    edit = largest_component(target.values, target.value, spacing_mm=target.spacing_mm, rules=rules)
    return _told(target, commit(target.layer, edit), "smaller pieces removed")


def smooth(target: Target, choices: Choices) -> str:
    """Smooth the active label."""
    from medseg.editing import smooth as smoothed

    edit = smoothed(
        target.values, target.value, sigma_mm=choices.smooth_mm, spacing_mm=target.spacing_mm,
        rules=_rules(target, choices),
    )  # fmt: skip
    return _told(target, commit(target.layer, edit), f"smoothed by {choices.smooth_mm:g} mm")


def grow(target: Target, choices: Choices) -> str:
    """Grow the active label within the intensity range."""
    from medseg.editing import Growth
    from medseg.editing import grow as grown

    growth = Growth(low=choices.low, high=choices.high, radius_mm=choices.grow_mm)
    edit = grown(
        target.values, target.value, target.intensities(), growth=growth,
        spacing_mm=target.spacing_mm, rules=_rules(target, choices),
    )  # fmt: skip
    return _told(target, commit(target.layer, edit), f"grown by up to {choices.grow_mm:g} mm")


def limit_to_range(target: Target, choices: Choices) -> str:
    """Take from the active label what lies outside the intensity range."""
    from medseg.editing import keep_in_range

    edit = keep_in_range(
        target.values, target.value, target.intensities(), low=choices.low, high=choices.high,
        rules=_rules(target, choices),
    )  # fmt: skip
    return _told(target, commit(target.layer, edit), "limited to the range")


def split_pieces(target: Target, choices: Choices) -> str:
    """Make the second largest piece of the active label an organ of its own."""
    from medseg.editing import split_into_pieces

    new = _next_value(target)
    edit = split_into_pieces(
        target.values, target.value, new_values=[new], rules=_rules(target, choices)
    )
    if not edit.values.size or not edit.changed(target.values):
        return f"{name_of(target)} is in one piece; nothing was changed"
    return _split_off(target, edit)


def split_at(target: Target, seeds: list[tuple[int, int, int]]) -> str:
    """Cut the active label between two voxels."""
    from medseg.editing import split_at_seeds

    edit = split_at_seeds(
        target.values, target.value, seeds, new_value=_next_value(target),
        spacing_mm=target.spacing_mm, rules=rules_of(target.layer),
    )  # fmt: skip
    return _split_off(target, edit)


TOOLS: dict[str, Callable[[Target, Choices], str]] = {
    "Fill between slices": fill_between,
    "Fill holes": fill_holes,
    "Largest piece": keep_largest,
    "Smooth": smooth,
    "Grow": grow,
    "Limit to range": limit_to_range,
    "Split pieces": split_pieces,
}
"""What the panel and the menus offer, by the words on the button."""


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


def next_slice(layer: Labels, value: int, *, axis: int, at: int, step: int) -> int | None:
    """The next slice that holds a label, before (`step` -1) or after (1) slice `at`."""
    from medseg.editing import box_of

    values = np.asarray(layer.data)
    box = box_of(values, value)
    if box is None:
        return None
    others = tuple(other for other in range(3) if other != axis)
    held = np.flatnonzero((values[box] == value).any(axis=others)) + box[axis].start
    ahead = held[held > at] if step > 0 else held[held < at][::-1]
    return int(ahead[0]) if ahead.size else None


def _rules(target: Target, choices: Choices) -> Rules:
    if target.value in shown_of(target.layer).locked:
        raise LabelError(f"{name_of(target)} is locked; untick Lock to change it", code="LOCKED")
    return rules_of(target.layer, over_labels=choices.over_labels)


def _next_value(target: Target) -> int:
    from medseg.volume.label_map import present_values
    from medseg_napari.correcting.organs import free_value

    return free_value(target.layer, present_values(target.values))


def _split_off(target: Target, edit: Edit) -> str:
    from medseg.volume.label_map import present_values

    old = name_of(target)
    added = add_organ(target.layer, _free_name(target.layer, old), present_values(target.values))
    changed = commit(target.layer, edit)
    return f"{added.name} split from {old}: {changed:,} voxels"


def _free_name(layer: Labels, name: str) -> str:
    taken = set(table_of(layer).names)
    return next(new for n in range(2, 10_000) if (new := f"{name} {n}") not in taken)


def _told(target: Target, changed: int, what: str) -> str:
    if not changed:
        return f"{name_of(target)}: there was nothing to change"
    return f"{name_of(target)}: {what}, {changed:,} voxels changed"
