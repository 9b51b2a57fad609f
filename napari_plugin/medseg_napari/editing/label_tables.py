"""The organs of a Labels layer: names, colours, codes, and which are shown, solo or locked.

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
from medseg_napari.layers import KEY, adopt, foreign_grid, layer_from_labels, source_of
from medseg_napari.undo import put_values

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from medseg.editing import LabelStatistics

SHOWN_KEY = "medseg_shown"
_CLEAR = (0.0, 0.0, 0.0, 0.0)
_LARGEST_VALUE = 65535


@dataclass
class Visibility:
    """What the list of organs says beyond names.

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


def shown_of(layer: Labels) -> Visibility:
    """What is shown and locked of a layer; made on first use."""
    shown = layer.metadata.get(SHOWN_KEY)
    if not isinstance(shown, Visibility):
        shown = layer.metadata[SHOWN_KEY] = Visibility()
    return shown


def table_of(layer: Labels) -> LabelTable:
    """The names of a layer; empty for one that never had any."""
    table = layer.metadata.get(KEY, {}).get("table")
    return table if isinstance(table, LabelTable) else LabelTable(())


def adopt_layer(layer: Labels, others: Iterable[Layer], present: Iterable[int]) -> None:
    """Give a layer that medseg did not make its place in a scan, and a name for each value.

    Parameters
    ----------
    layer : napari.layers.Labels
        Such as napari's own new layer. One of medseg's only gets the names that miss.
    others : iterable of Layer
        The scans it may belong to.
    present : iterable of int
    """
    data, attributes, _ = layer.as_layer_data_tuple()
    table = complete_table(table_of(layer), (value for value in present if value > 0))
    known = source_of(data, attributes) is not None
    if known and layer.metadata[KEY]["table"] == table:
        return
    if not known:
        pairs = (other.as_layer_data_tuple()[:2] for other in others if other is not layer)
        adopted = adopt(data, {**attributes, "metadata": {}}, pairs)
        place = adopted["metadata"].get(KEY) or _foreign_source(data, attributes)
        layer.metadata[KEY] = {**place, "lead": "", "window": None}
    set_table(layer, table)


def new_layer(scan: Image) -> Labels:
    """An empty Labels layer on the voxels of a scan, with one organ to start with."""
    from napari.layers import Labels

    layer = Labels(
        np.zeros(scan.data.shape, np.uint8),
        name=f"{scan.name}: labels",
        scale=scan.scale,
        translate=scan.translate,
        units=scan.units,
        axis_labels=scan.axis_labels,
        opacity=0.5,
    )
    adopt_layer(layer, [scan], ())
    add_organ(layer)
    return layer


def _foreign_source(data: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    grid = foreign_grid(data, attributes)
    blank = LabelMap(np.broadcast_to(np.uint8(0), grid.shape), grid, LabelTable(()))
    source: dict[str, Any] = layer_from_labels(blank, "")[1]["metadata"][KEY]
    return source


def set_table(
    layer: Labels, table: LabelTable, statistics: Mapping[int, LabelStatistics] | None = None
) -> None:
    """Give a layer new names, colours and codes, everywhere they are kept.

    Parameters
    ----------
    layer : napari.layers.Labels
        Of medseg, or adopted by :func:`adopt_layer`.
    table : LabelTable
    statistics : mapping of int to LabelStatistics, optional
        For the volumes in napari's status bar and features table.
    """
    layer.metadata[KEY] = {**layer.metadata.get(KEY, {}), "table": table}
    volumes = {} if statistics is None else {v: one.volume_ml for v, one in statistics.items()}
    show_features(layer, table, volumes)
    recolour(layer)


def show_features(layer: Labels, table: LabelTable, volumes_ml: Mapping[int, float]) -> None:
    """Put names and volumes where napari's status bar and features table look."""
    import pandas as pd  # type: ignore[import-untyped]

    rows = [(0, "background", float("nan"))]
    rows += [(one.value, one.name, round(volumes_ml.get(one.value, 0.0), 3)) for one in table]
    layer.features = pd.DataFrame(rows, columns=["index", "name", "volume_ml"])


def recolour(layer: Labels) -> None:
    """Draw a layer in the colours of its table, without what is hidden."""
    from napari.utils import DirectLabelColormap

    shown = shown_of(layer)
    unnamed = UNNAMED_RGBA if shown.solo is None else _CLEAR
    colors: dict[int | None, tuple[float, ...]] = {None: unnamed, 0: _CLEAR}
    for label in table_of(layer):
        rgb = tuple(channel / 255 for channel in label.color)
        colors[label.value] = (*rgb, 1.0) if shown.draws(label.value) else _CLEAR
    layer.colormap = DirectLabelColormap(color_dict=colors)


def set_visible(layer: Labels, value: int, visible: bool) -> None:
    """Show or hide one organ."""
    (shown_of(layer).hidden.discard if visible else shown_of(layer).hidden.add)(value)
    recolour(layer)


def set_solo(layer: Labels, value: int | None) -> None:
    """Show one organ alone, or with None all that are not hidden."""
    if shown_of(layer).solo != value:
        shown_of(layer).solo = value
        recolour(layer)


def set_locked(layer: Labels, value: int, locked: bool) -> None:
    """Keep one organ from being changed, or allow it again."""
    (shown_of(layer).locked.add if locked else shown_of(layer).locked.discard)(value)


def free_value(layer: Labels, beside: Iterable[int] = ()) -> int:
    """The smallest value that neither the table nor `beside` has.

    Raises
    ------
    LabelError
        When the layer's data type has no room for another one.
    """
    taken = {*table_of(layer).values, *beside}
    value = next(value for value in range(1, _LARGEST_VALUE + 1) if value not in taken)
    most = int(np.iinfo(layer.data.dtype).max)
    if value > most:
        raise LabelError(f"this layer holds {layer.data.dtype}, so at most {most} labels")
    return value


def add_organ(layer: Labels, name: str = "", beside: Iterable[int] = ()) -> Label:
    """Add an organ with a free value and a colour of its own.

    Parameters
    ----------
    layer : napari.layers.Labels
    name : str, optional
        "label 7" and so on without one.
    beside : iterable of int
        Values in use that the table does not name.
    """
    table = table_of(layer)
    value = free_value(layer, beside)
    used = {label.color for label in table}
    color = next(c for row in range(len(table) + 1) if (c := default_color(row)) not in used)
    added = Label(value=value, name=name or f"label {value}", color=color)
    set_table(layer, _sorted([*table, added]))
    return added


def change_organ(layer: Labels, value: int, **changes: Any) -> None:
    """Give an organ another `name`, `color` or `code`.

    Raises
    ------
    LabelError
        When the name is empty or taken; nothing is changed.
    """
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


def remove_organ(layer: Labels, value: int) -> int:
    """Take an organ from the table and its voxels from the layer, the voxels as an undoable step.

    Returns
    -------
    int
        How many voxels became background.

    Raises
    ------
    LabelError
        When the organ is locked.
    """
    from medseg.editing import Rules, box_of

    Rules(locked=tuple(shown_of(layer).locked)).check_open([value])
    table = LabelTable(tuple(label for label in table_of(layer) if label.value != value))
    shown = shown_of(layer)
    shown.hidden.discard(value)
    shown.solo = None if shown.solo == value else shown.solo
    box = box_of(np.asarray(layer.data), value)
    gone = 0
    if box is not None:
        part = np.asarray(layer.data[box])
        gone = put_values(layer, np.where(part == value, 0, part), where=box)
    set_table(layer, table)
    return gone


def _sorted(labels: Iterable[Label]) -> LabelTable:
    return LabelTable(tuple(sorted(labels, key=lambda label: label.value)))
