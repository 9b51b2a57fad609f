"""The labels of a Labels layer: names, colours, codes, and which are shown, solo or locked.

The table of names travels in ``layer.metadata["medseg"]["table"]``, where the writers look for it;
what is shown and locked in ``layer.metadata["medseg_shown"]``, for this session only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from medseg.errors import LabelError
from medseg.volume import Label, LabelMap, LabelTable
from medseg.volume.label_table import default_color
from medseg_napari.label_features import UNNAMED_RGBA, complete_table
from medseg_napari.layers import (
    FOREIGN,
    KEY,
    TRANSFORM,
    adopt,
    attributes_of,
    foreign_grid,
    layer_from_labels,
    source_of,
)
from medseg_napari.undo import put_values

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from medseg.editing import LabelStatistics

VISIBILITY_KEY = "medseg_shown"
_CLEAR = (0.0, 0.0, 0.0, 0.0)
_LARGEST_VALUE = 65535


@dataclass
class Visibility:
    """What the list of labels says beyond names.

    Parameters
    ----------
    hidden, locked : set of int
        Label values that are not drawn, and that no tool changes.
    solo : int or None
        The only value that is drawn, if there is one.
    """

    hidden: set[int] = field(default_factory=set)
    locked: set[int] = field(default_factory=set)
    solo: int | None = None

    def draws(self, value: int) -> bool:
        """Whether a label is seen."""
        return value == self.solo if self.solo is not None else value not in self.hidden


def visibility_of(layer: Labels) -> Visibility:
    """What is shown and locked of a layer; made on first use."""
    shown = layer.metadata.get(VISIBILITY_KEY)
    if not isinstance(shown, Visibility):
        shown = layer.metadata[VISIBILITY_KEY] = Visibility()
    return shown


def table_of(layer: Labels) -> LabelTable:
    """The names of a layer; empty for one that never had any."""
    table = layer.metadata.get(KEY, {}).get("table")
    return table if isinstance(table, LabelTable) else LabelTable(())


def adopt_layer(layer: Labels, others: Iterable[Layer], present: Iterable[int]) -> None:
    """Give a layer that medseg did not make its place in a scan, and a name for each value.

    A layer of medseg's only gets the names that miss. Where no scan of medseg's lies below, nobody
    knows where left is, and the place says so.

    Raises
    ------
    GeometryError
        When the layer is turned by a transform of its own, which no file of ours could say.
    """
    data, attributes, _ = layer.as_layer_data_tuple()
    table = complete_table(table_of(layer), (value for value in present if value > 0))
    has_source = source_of(data, attributes) is not None
    if has_source and layer.metadata[KEY]["table"] == table:
        return
    if not has_source:
        pairs = (other.as_layer_data_tuple()[:2] for other in others if other is not layer)
        adopted = adopt(data, {**attributes, "metadata": {}}, pairs)
        source = adopted["metadata"].get(KEY) or _foreign_source(data, attributes)
        layer.metadata[KEY] = {**source, "lead": "", "window": None}
    set_table(layer, table)


def new_layer(scan: Image) -> Labels:
    """An empty Labels layer on the voxels of a scan, with one label to start with.

    Raises
    ------
    GeometryError
        When the scan is turned by a transform of its own.
    """
    from napari.layers import Labels

    if source_of(scan.data, attributes_of(scan)) is None:
        foreign_grid(scan.data, attributes_of(scan))
    layer = Labels(
        np.zeros(scan.data.shape, np.uint8),
        name=f"{scan.name}: labels",
        **{name: getattr(scan, name) for name in (*TRANSFORM, "units", "axis_labels")},
        opacity=0.5,
    )
    adopt_layer(layer, [scan], ())
    add_label(layer)
    return layer


def _foreign_source(data: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    grid = foreign_grid(data, attributes)
    blank = LabelMap(np.broadcast_to(np.uint8(0), grid.shape), grid, LabelTable(()), FOREIGN)
    source: dict[str, Any] = layer_from_labels(blank, "")[1]["metadata"][KEY]
    return source


def set_table(
    layer: Labels, table: LabelTable, statistics: Mapping[int, LabelStatistics] | None = None
) -> None:
    """Give a layer new names, colours and codes; napari's status bar shows the volumes."""
    layer.metadata[KEY] = {**layer.metadata.get(KEY, {}), "table": table}
    if statistics is None:
        shown = layer.features
        columns = shown.get("index", ()), shown.get("volume_ml", ())
        volumes = dict(zip(*columns, strict=True))
    else:
        volumes = {value: label.volume_ml for value, label in statistics.items()}
    show_features(layer, table, volumes)
    update_colormap(layer)


def show_features(layer: Labels, table: LabelTable, volumes_ml: Mapping[int, float]) -> None:
    """Put names and volumes where napari's status bar and features table look."""
    import pandas as pd  # type: ignore[import-untyped]

    rows = [(0, "background", float("nan"))]
    rows += [
        (label.value, label.name, round(volumes_ml.get(label.value, 0.0), 3)) for label in table
    ]
    layer.features = pd.DataFrame(rows, columns=["index", "name", "volume_ml"])


def update_colormap(layer: Labels) -> None:
    """Draw a layer in the colours of its table, without what is hidden."""
    from napari.utils import DirectLabelColormap

    shown = visibility_of(layer)
    unnamed = UNNAMED_RGBA if shown.solo is None else _CLEAR
    colors: dict[int | None, tuple[float, ...]] = {None: unnamed, 0: _CLEAR}
    for label in table_of(layer):
        rgb = tuple(channel / 255 for channel in label.color)
        colors[label.value] = (*rgb, 1.0) if shown.draws(label.value) else _CLEAR
    layer.colormap = DirectLabelColormap(color_dict=colors)


def set_visible(layer: Labels, value: int, visible: bool) -> None:
    """Show or hide one label."""
    (visibility_of(layer).hidden.discard if visible else visibility_of(layer).hidden.add)(value)
    update_colormap(layer)


def set_solo(layer: Labels, value: int | None) -> None:
    """Show one label alone, or with None all that are not hidden."""
    if visibility_of(layer).solo != value:
        visibility_of(layer).solo = value
        update_colormap(layer)


def set_locked(layer: Labels, value: int, locked: bool) -> None:
    """Keep one label from being changed, or allow it again."""
    (visibility_of(layer).locked.add if locked else visibility_of(layer).locked.discard)(value)


def free_value(layer: Labels, also_used: Iterable[int] = ()) -> int:
    """The smallest value that neither the table nor `also_used` has, if the data type has one."""
    taken = {*table_of(layer).values, *also_used}
    value = next(value for value in range(1, _LARGEST_VALUE + 1) if value not in taken)
    most = int(np.iinfo(layer.data.dtype).max)
    if value > most:
        raise LabelError(f"this layer holds {layer.data.dtype}, so at most {most} labels")
    return value


def add_label(layer: Labels, name: str = "", also_used: Iterable[int] = ()) -> Label:
    """Add a label with a colour of its own and a value that neither table nor `also_used` has."""
    table = table_of(layer)
    value = free_value(layer, also_used)
    used = {label.color for label in table}
    color = next(c for row in range(len(table) + 1) if (c := default_color(row)) not in used)
    added = Label(value=value, name=name or f"label {value}", color=color)
    labels = sorted([*table, added], key=lambda label: label.value)
    set_table(layer, LabelTable(tuple(labels)))
    return added


def edit_label(layer: Labels, value: int, **changes: Any) -> None:
    """Change `name`, `color` or `code` of a label; `LabelError` when the name is empty or taken."""
    others = {label.name for label in table_of(layer) if label.value != value}
    if changes.get("name") in others:
        raise LabelError(f"another organ is called '{changes['name']}'; choose another name")
    if not changes.get("name", "a name").strip():
        raise LabelError("an organ needs a name")
    set_table(
        layer,
        LabelTable(
            tuple(
                msgspec.structs.replace(label, **changes) if label.value == value else label
                for label in table_of(layer)
            )
        ),
    )


def remove_label(layer: Labels, value: int) -> int:
    """Take a label from the table and its voxels from the layer, the voxels as an undoable step.

    Returns how many voxels became background; a locked label is a `LabelError`.
    """
    from medseg.editing import Rules, box_of

    Rules(locked=tuple(visibility_of(layer).locked)).check_unlocked([value])
    table = LabelTable(tuple(label for label in table_of(layer) if label.value != value))
    shown = visibility_of(layer)
    shown.hidden.discard(value)
    shown.solo = None if shown.solo == value else shown.solo
    box = box_of(np.asarray(layer.data), value)
    gone = 0
    if box is not None:
        part = np.asarray(layer.data[box])
        gone = put_values(layer, np.where(part == value, 0, part), where=box)
    set_table(layer, table)
    return gone
