"""Label tables as napari shows them: names, volumes and colours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from medseg.volume import Label, LabelMap, LabelTable
from medseg.volume.label_map import voxel_counts
from medseg.volume.label_table import default_color

UNNAMED_RGBA = (1.0, 0.0, 1.0, 1.0)
_CLEAR = (0.0, 0.0, 0.0, 0.0)


def features_of(labels: LabelMap) -> Any:
    """A data frame of `index` (the value), `name` and `volume_ml`, one row per label.

    napari shows the row of the label under the pointer in its status bar, and all of them in its
    features table.
    """
    import pandas as pd  # type: ignore[import-untyped]

    values = list(labels.table.values)
    millilitres = voxel_counts(labels.values)[values] * labels.grid.voxel_volume_mm3 / 1000.0
    return pd.DataFrame(
        {
            "index": [0, *values],
            "name": ["background", *labels.table.names],
            "volume_ml": [float("nan"), *(round(float(volume), 3) for volume in millilitres)],
        }
    )


def colormap_of(table: LabelTable) -> Any:
    """The colormap of a label table; a value without a name is magenta, never invisible."""
    from napari.utils import DirectLabelColormap

    colors: dict[int | None, tuple[float, ...]] = {None: UNNAMED_RGBA, 0: _CLEAR}
    for label in table:
        red, green, blue = (channel / 255 for channel in label.color)
        colors[label.value] = (red, green, blue, 1.0)
    return DirectLabelColormap(color_dict=colors)


def complete_table(table: LabelTable, values: Iterable[int]) -> LabelTable:
    """`table` with a row for each painted value it does not name, such as ``"label 7"``."""
    unnamed = sorted(set(values) - set(table.values) - {0})
    extra = [
        Label(value=value, name=f"label {value}", color=default_color(len(table) + row))
        for row, value in enumerate(unnamed)
    ]
    return LabelTable(tuple(sorted([*table, *extra], key=lambda label: label.value)))
