"""SNOMED CT codes of structures by the names that models give them.

The codes are those of TotalSegmentator's published table (Wasserthal et al., Radiology: AI 5,
2023), without sides: those are in the labels' names.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import msgspec

from medseg.volume import Code, Label, LabelTable
from medseg.volume.label_table import STRUCTURE

_FILE = Path(__file__).with_suffix(".json")
_SIDES = frozenset({"left", "right"})


def coded(table: LabelTable) -> LabelTable:
    """The table with codes where a name is known, such as ``"Left Kidney"`` or ``kidney_left``."""
    return LabelTable(tuple(_coded(label) for label in table))


def _coded(label: Label) -> Label:
    parts = re.split(r"[\s_-]+", label.name.casefold().strip())
    unsided = [part for part in parts if part not in _SIDES]
    row = _codes().get("_".join(parts)) or _codes().get("_".join(unsided))
    if row is None:
        return label
    value, meaning, *category = row
    return Label.coded(
        label.value,
        label.name,
        label.color,
        category=Code(category[0], "SCT", category[1]) if category else STRUCTURE,
        type_code=Code(value, "SCT", meaning),
    )


@functools.cache
def _codes() -> dict[str, tuple[str, ...]]:
    return msgspec.json.decode(_FILE.read_bytes(), type=dict[str, tuple[str, ...]])
