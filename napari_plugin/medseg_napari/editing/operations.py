"""The library's corrections as tools for a Labels layer.

A tool works in two halves. It finds on a copy of the voxels, in any thread, what shall change; then
:func:`put` changes the layer, on the GUI thread, as one step that can be undone. Voxels that were
painted between the two stay as they were painted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from medseg.errors import GeometryError, LabelError, MedsegError
from medseg_napari.editing.label_tables import add_label, free_value, table_of, visibility_of
from medseg_napari.editing.targets import Target, ToolOptions, name_of, rules_of
from medseg_napari.undo import put_values

if TYPE_CHECKING:
    from medseg.editing import Edit, Rules
    from medseg.runtime.progress import Progress

T = TypeVar("T")

SMALL_VOXELS = 2_000_000
"""Up to here a tool takes less than a moment; larger label maps are worked on in a thread."""


@dataclass(frozen=True)
class Correction:
    """What a tool found.

    Parameters
    ----------
    edit : Edit or None
        The voxels that shall change; None for none.
    text : str
        What that is, for the person.
    splits_off : int
        The value in `edit` that is to be a new label; 0 for none.
    """

    edit: Edit | None
    text: str
    splits_off: int = 0


def fill_between(target: Target, options: ToolOptions) -> Correction:
    """Fill between the slices of the shown plane."""
    from medseg.editing import fill_between_slices

    edit = fill_between_slices(
        target.values,
        target.value,
        spacing_mm=target.spacing_mm,
        axis=target.axis,
        rules=_rules(target, options),
    )
    return Correction(edit, "filled between slices")


def fill_holes(target: Target, options: ToolOptions) -> Correction:
    """Fill holes of the active label."""
    from medseg.editing import fill_holes as fill

    rules = _rules(target, options)
    edit = fill(target.values, target.value, spacing_mm=target.spacing_mm, rules=rules)
    return Correction(edit, "holes filled")


def keep_largest(target: Target, options: ToolOptions) -> Correction:
    """Keep the largest piece of the active label."""
    from medseg.editing import largest_component

    rules = _rules(target, options)
    edit = largest_component(target.values, target.value, spacing_mm=target.spacing_mm, rules=rules)
    return Correction(edit, "smaller pieces removed")


def smooth(target: Target, options: ToolOptions) -> Correction:
    """Smooth the active label; its volume stays."""
    from medseg.editing import smooth as smoothed

    edit = smoothed(
        target.values,
        target.value,
        sigma_mm=options.smooth_mm,
        spacing_mm=target.spacing_mm,
        rules=_rules(target, options),
        keep_volume=True,
    )
    return Correction(edit, f"smoothed by {options.smooth_mm:g} mm")


def grow(target: Target, options: ToolOptions) -> Correction:
    """Grow the active label within the intensity range."""
    from medseg.editing import Growth
    from medseg.editing import grow as grown

    growth = Growth(low=options.low, high=options.high, radius_mm=options.grow_mm)
    edit = grown(
        target.values,
        target.value,
        target.intensities(),
        growth=growth,
        spacing_mm=target.spacing_mm,
        rules=_rules(target, options),
    )
    return Correction(edit, f"grown by up to {options.grow_mm:g} mm")


def limit_to_range(target: Target, options: ToolOptions) -> Correction:
    """Take from the active label what lies outside the intensity range."""
    from medseg.editing import keep_in_range

    edit = keep_in_range(
        target.values,
        target.value,
        target.intensities(),
        low=options.low,
        high=options.high,
        rules=_rules(target, options),
    )
    return Correction(edit, "limited to the range")


def split_pieces(target: Target, options: ToolOptions) -> Correction:
    """Make the second largest piece of the active label a label of its own."""
    from medseg.editing import split_into_pieces

    new = _next_value(target)
    edit = split_into_pieces(
        target.values, target.value, new_values=[new], rules=_rules(target, options)
    )
    if not edit.values.size or not edit.changed(target.values):
        return Correction(None, f"{name_of(target)} is in one piece; nothing was changed")
    return Correction(edit, "split", splits_off=new)


def split_at(target: Target, seeds: list[tuple[int, int, int]]) -> Correction:
    """Cut the active label between two voxels."""
    from medseg.editing import split_at_seeds

    new = _next_value(target)
    edit = split_at_seeds(
        target.values,
        target.value,
        seeds,
        new_value=new,
        spacing_mm=target.spacing_mm,
        rules=rules_of(target.layer),
    )
    return Correction(edit, "split", splits_off=new)


TOOLS: dict[str, Callable[[Target, ToolOptions], Correction]] = {
    "Fill between slices": fill_between,
    "Fill holes": fill_holes,
    "Largest piece": keep_largest,
    "Smooth": smooth,
    "Grow": grow,
    "Limit to range": limit_to_range,
    "Split pieces": split_pieces,
}
"""What the panel and the menus offer, by the words on the button."""

PROGRESS_TEXTS = {
    "Fill between slices": "filling between slices ...",
    "Fill holes": "filling holes ...",
    "Largest piece": "looking for the largest piece ...",
    "Smooth": "smoothing ...",
    "Grow": "growing ...",
    "Limit to range": "limiting to the range ...",
    "Split pieces": "splitting pieces ...",
    "Cut at two points": "cutting ...",
}
"""What is said while a tool works."""


def run_in_thread(
    tool: Callable[[Target, T], Correction],
    target: Target,
    options: T,
    text: str,
    progress: Progress,
) -> Correction:
    """What one of `TOOLS`, or :func:`split_at`, finds; any other error says that it was the tool.

    A tool cannot be stopped half-way; what it finds later is thrown away.
    """
    progress(0, 1, text)
    try:
        return tool(target, options)
    except MedsegError:
        raise
    except MemoryError as error:
        raise MedsegError(
            "the tool ran out of memory and changed nothing; close other layers and try again"
        ) from error
    except Exception as error:
        kind = type(error).__name__
        raise MedsegError(
            f"the tool stopped with {kind}: {error}; nothing was changed, the log holds the details"
        ) from error


def put(target: Target, correction: Correction) -> str:
    """Change the layer as one step that can be undone, on the GUI thread; what was done.

    Raises
    ------
    GeometryError
        When the layer has another shape now.
    LabelError
        When the label was locked or removed meanwhile.
    """
    if correction.edit is None:
        return correction.text
    _check_since(target)
    if correction.splits_off:
        return _put_split(target, correction.edit, correction.splits_off)
    before = int(np.count_nonzero(np.asarray(target.layer.data) == target.value))
    changed, unchanged = _put(target, correction.edit)
    if not changed:
        return f"{name_of(target)}: there was nothing to change{_unchanged_text(unchanged)}"
    after = int(np.count_nonzero(np.asarray(target.layer.data) == target.value))
    text = f"{name_of(target)}: {correction.text}, {before:,} → {after:,} voxels"
    return f"{text} ({(after - before) / max(before, 1):+.0%}){_unchanged_text(unchanged)}"


def _check_since(target: Target) -> None:
    """Refuse what no longer fits the layer."""
    layer, name = target.layer, name_of(target)
    if layer.data.shape != target.values.shape:
        raise GeometryError(
            f"layer '{layer.name}' has other voxels now than when the tool started; run it again"
        )
    if target.value in visibility_of(layer).locked:
        raise LabelError(
            f"{name} was locked while the tool worked, so nothing was changed; untick Lock first",
            code="LOCKED",
        )
    if target.frozen is not None and not np.any(np.asarray(layer.data) == target.value):
        raise LabelError(f"{name} was removed while the tool worked, so nothing was changed")


def _put(target: Target, edit: Edit) -> tuple[int, int]:
    """Voxels that changed, and those that stay as they were painted meanwhile."""
    if not edit.values.size:
        return 0, 0
    now, before = np.asarray(target.layer.data[edit.where]), target.values[edit.where]
    painted = now != before
    locked = sorted(visibility_of(target.layer).locked)
    if locked:
        painted |= np.isin(now, locked)
    unchanged = int(np.count_nonzero(painted & (edit.values != before)))
    values = np.where(painted, now, edit.values) if painted.any() else edit.values
    return put_values(target.layer, values, where=edit.where), unchanged


def _put_split(target: Target, edit: Edit, value: int) -> str:
    from medseg.editing import Edit
    from medseg.volume.label_map import present_values

    old = name_of(target)
    present = present_values(np.asarray(target.layer.data))
    added = add_label(target.layer, _free_name(target, old), present)
    values = np.where(edit.values == value, added.value, edit.values).astype(edit.values.dtype)
    changed, unchanged = _put(target, Edit(edit.where, values))
    return f"{added.name} split from {old}: {changed:,} voxels{_unchanged_text(unchanged)}"


def _unchanged_text(unchanged: int) -> str:
    return f"; {unchanged:,} that you painted or locked meanwhile stay" if unchanged else ""


def _rules(target: Target, options: ToolOptions) -> Rules:
    if target.value in visibility_of(target.layer).locked:
        raise LabelError(f"{name_of(target)} is locked; untick Lock to change it", code="LOCKED")
    return rules_of(target.layer, over_labels=options.over_labels)


def _next_value(target: Target) -> int:
    from medseg.volume.label_map import present_values

    return free_value(target.layer, present_values(target.values))


def _free_name(target: Target, name: str) -> str:
    taken = set(table_of(target.layer).names)
    return next(new for n in range(2, 10_000) if (new := f"{name} {n}") not in taken)
