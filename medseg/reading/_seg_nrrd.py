"""Names, colours and codes of labels in a NRRD header, as 3D Slicer writes them (.seg.nrrd)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from medseg.volume import Code, Label
from medseg.volume.label_table import default_color

_NO_CODE = Code("", "", "")


def stored_labels(metadata: Mapping[str, str]) -> tuple[Label, ...]:
    """Labels that the fields ``Segment0_Name``, ``Segment0_LabelValue``, ... describe.

    Returns
    -------
    tuple of Label
        Ascending and unique in value and name; empty when there are no such fields, or several
        layers (overlapping segments, whose values say nothing on their own).
    """
    labels: dict[int, Label] = {}
    for number in itertools.count():
        prefix = f"Segment{number}_"
        name = metadata.get(f"{prefix}Name", "")
        if not name.strip():
            break
        if metadata.get(f"{prefix}Layer", "0") != "0":
            return ()
        text = metadata.get(f"{prefix}LabelValue", "")
        value = int(text) if text.isdigit() else number + 1
        if name in {label.name for label in labels.values()}:
            name = f"{name} {value}"
        color = _color(metadata.get(f"{prefix}Color", ""), number)
        category, type_code = _codes(metadata.get(f"{prefix}Tags", ""))
        if 1 <= value <= 65535 and value not in labels:
            labels[value] = Label.coded(value, name, color, category=category, type_code=type_code)
    return tuple(labels[value] for value in sorted(labels))


def _codes(tags: str) -> tuple[Code, Code]:
    """Category and type in a terminology entry; codes without a value where there are none.

    Its words are context, category, type, type modifier and three about the region; each code is
    scheme, value and meaning.
    """
    entries = (tag.partition(":") for tag in tags.split("|"))
    entry = next((text for key, _, text in entries if key.strip() == "TerminologyEntry"), "")
    category, type_code = [*map(_code, entry.split("~")), _NO_CODE, _NO_CODE, _NO_CODE][1:3]
    return (category, type_code) if type_code.value else (_NO_CODE, _NO_CODE)


def _code(text: str) -> Code:
    parts = text.split("^")
    if len(parts) != 3 or not all(parts[:2]):
        return _NO_CODE
    scheme, value, meaning = parts
    return Code(value, scheme, meaning)


def _color(text: str, row: int) -> tuple[int, int, int]:
    """Three fractions as 0 to 255; a default colour when they are not that."""
    try:
        red, green, blue = (
            min(255, max(0, round(float(fraction) * 255))) for fraction in text.split()
        )
    except (ValueError, OverflowError):
        return default_color(row)
    return red, green, blue
