"""Label names in the header of a NRRD file, as 3D Slicer writes them (.seg.nrrd)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from medseg.volume import Label
from medseg.volume.label_table import default_color


def stored_labels(metadata: Mapping[str, str]) -> tuple[Label, ...]:
    """Labels that the fields ``Segment0_Name``, ``Segment0_LabelValue``, ... describe.

    Parameters
    ----------
    metadata : mapping of str to str
        The header's key-value fields.

    Returns
    -------
    tuple of Label
        Ascending and unique in value and name; empty when there are no such fields, or several
        layers (overlapping segments, whose values say nothing on their own).
    """
    labels: dict[int, Label] = {}
    for number in itertools.count():
        prefix = f"Segment{number}_"
        name = metadata.get(f"{prefix}Name", "").strip()
        if not name:
            break
        if metadata.get(f"{prefix}Layer", "0") != "0":
            return ()
        text = metadata.get(f"{prefix}LabelValue", "")
        value = int(text) if text.isdigit() else number + 1
        if name in {label.name for label in labels.values()}:
            name = f"{name} {value}"
        color = _color(metadata.get(f"{prefix}Color", ""), number)
        if 1 <= value <= 65535 and value not in labels:
            labels[value] = Label(value=value, name=name, color=color)
    return tuple(labels[value] for value in sorted(labels))


def _color(text: str, row: int) -> tuple[int, int, int]:
    """Three fractions as 0 to 255; a default colour when they are not that."""
    try:
        red, green, blue = (min(255, max(0, round(float(one) * 255))) for one in text.split())
    except (ValueError, OverflowError):
        return default_color(row)
    return red, green, blue
