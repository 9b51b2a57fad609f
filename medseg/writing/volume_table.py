"""Volumes of the structures as a table: CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from medseg.errors import WriteError
from medseg.volume import LabelMap
from medseg.writing._atomic import atomic

suffixes = (".csv", ".json")

_COLUMNS = ("value", "label", "voxels", "volume_ml", "scheme", "code")


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write one row per label of the table, empty ones included.

    The form is that of :class:`medseg.writing.protocol.LabelWriter`. The columns are value,
    label, voxels, volume_ml, scheme and code. JSON is ``{"labels": [{column: cell}]}``.
    """
    rows = _rows(labels)
    as_json = path.name.lower().endswith(".json")
    text = msgspec.json.format(msgspec.json.encode({"labels": rows})) if as_json else _csv(rows)
    with atomic(path, suffix=path.suffix.lower()) as temporary:
        temporary.write_bytes(text)
        if temporary.read_bytes() != text:
            raise WriteError("the file did not read back equal and was removed", code="SELF_CHECK")


def _rows(labels: LabelMap) -> list[dict[str, Any]]:
    """Cells by column, in the order of the labels' values."""
    values, counts = np.unique(labels.values, return_counts=True)
    count_of = dict(zip(values.tolist(), counts.tolist(), strict=True))
    ml_per_voxel = labels.grid.voxel_volume_mm3 / 1000.0
    rows = []
    for label in labels.table:
        count = count_of.get(label.value, 0)
        code = ("", "") if label.code is None else (label.code.scheme, label.code.value)
        cells = (label.value, label.name, count, count * ml_per_voxel, *code)
        rows.append(dict(zip(_COLUMNS, cells, strict=True)))
    return rows


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")
