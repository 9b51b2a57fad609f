"""Two Labels layers compared: what the Review panel runs, without Qt."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, WriteError
from medseg.runtime.progress import Progress
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.volume.conventions import IPL, Reorientation
from medseg_napari.label_features import UNNAMED_RGBA
from medseg_napari.layers import MAP_KEY, LayerTuple, labels_from_layer, layer_from_labels

if TYPE_CHECKING:
    from medseg.metrics import StructureComparison

COLUMNS = (
    "case",
    "structure",
    "dice",
    "hd95_mm",
    "nsd",
    "tolerance_mm",
    "volume_a_ml",
    "volume_b_ml",
    "notes",
)
DIFFERENCE_OPACITY = 0.8
Color = tuple[int, int, int]
_VIVID: tuple[Color, ...] = (
    (255, 255, 0),
    (0, 255, 255),
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 128, 0),
    (160, 0, 255),
    (128, 255, 0),
    (0, 128, 255),
    (0, 255, 128),
    (255, 0, 128),
    (140, 70, 0),
)

Attributes = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One press of Compare."""

    first: tuple[npt.NDArray[Any], Attributes]
    second: tuple[npt.NDArray[Any], Attributes]
    tolerance_mm: float = 1.0
    resample: bool = False


@dataclass(frozen=True)
class Review:
    """What became of a comparison."""

    case: str
    rows: tuple[StructureComparison, ...]
    tolerance_mm: float
    difference: LayerTuple
    note: str = ""


def review(request: Request, progress: Progress) -> Review:
    """Compare two layers.

    Raises
    ------
    GeometryError
        Code ``GRIDS_DIFFER`` when the layers lie on different grids and B may not be resampled.
    """
    from medseg.metrics import compare, differences

    first = labels_from_layer(*request.first)
    second, note = _on_grid(labels_from_layer(*request.second), first.grid, request)
    turned = (_as_shown(labels, first.grid) for labels in (first, second))
    rows = compare(*turned, tolerance_mm=request.tolerance_mm, progress=progress)
    name = f"difference: {request.first[1]['name']} - {request.second[1]['name']}"
    marks = differences(first, second)
    colors = difference_colors([label.color for label in (*first.table, *second.table)])
    table = LabelTable(
        tuple(
            msgspec.structs.replace(label, color=color)
            for label, color in zip(marks.table, colors, strict=True)
        )
    )
    data, attributes, kind = layer_from_labels(replace(marks, table=table), name)
    attributes["opacity"] = DIFFERENCE_OPACITY
    attributes["metadata"][MAP_KEY] = True
    return Review(
        case=case_digest(first),
        rows=rows,
        tolerance_mm=request.tolerance_mm,
        difference=(data, attributes, kind),
        note=note,
    )


def difference_colors(taken: Sequence[Color]) -> list[Color]:
    """Three colours far from those of all labels, from one another, and from grey.

    Each is the one of `_VIVID` whose nearest taken colour is the farthest.
    """
    near = [*taken, *(tuple(round(255 * part) for part in UNNAMED_RGBA[:3]),)]
    colors: list[Color] = []
    for _ in range(3):
        free = [color for color in _VIVID if color not in colors]
        colors.append(max(free, key=lambda color: min(math.dist(color, other) for other in near)))
        near.append(colors[-1])
    return colors


def case_digest(labels: LabelMap) -> str:
    """A name for the scan that was labelled: of its series when known, else of its grid."""
    uid = labels.provenance.series_uid
    geometry = np.array([*labels.grid.shape, *labels.grid.affine.ravel()], np.float64)
    identity = (
        uid.encode() if uid else geometry.tobytes() + np.ascontiguousarray(labels.values).tobytes()
    )
    return f"case-{hashlib.sha256(identity).hexdigest()[:12]}"


def worst_first(rows: Sequence[StructureComparison], axis: int) -> list[StructureComparison]:
    """Structures that differ on a slice across `axis` of I, P, L, the largest area first."""
    differing = [row for row in rows if row.worst[axis].area_mm2 > 0]
    return sorted(differing, key=lambda row: -row.worst[axis].area_mm2)


def worst_slice_mm(attributes: Attributes, row: StructureComparison, axis: int) -> float:
    """Where in the viewer's world along `axis` (of I, P, L) a structure's worst slice lies."""
    scale, translate = attributes["scale"][axis], attributes["translate"][axis]
    return float(translate + scale * row.worst[axis].index)


def write_table(path: str | Path, result: Review, *, case: str = "", notes: str = "") -> Path:
    """Write a review into a CSV under a name for the `case`; rows of other cases stay.

    Raises
    ------
    WriteError
        When it cannot be written, or is a file of something else.
    """
    from medseg.writing import atomic

    target = Path(path)
    case_name = case.strip() or result.case
    other_cases = [row for row in _read_rows(target) if row["case"] != case_name]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        [*other_cases, *(_cells(row, result, case_name, notes) for row in result.rows)]
    )
    with atomic(target, suffix=".csv") as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return target


def _on_grid(labels: LabelMap, grid: Grid, request: Request) -> tuple[LabelMap, str]:
    """B on the grid of A, and what is to be told of it."""
    if labels.grid.same_as(grid):
        return labels, ""
    if not request.resample:
        raise GeometryError(
            f"A and B lie on different grids ({_size(grid)} and {_size(labels.grid)}); nothing was"
            " compared: press 'Resample B' to bring B to the grid of A first",
            code="GRIDS_DIFFER",
        )
    from medseg.metrics import labels_on

    return labels_on(labels, grid), "B was resampled to the grid of A"


def _size(grid: Grid) -> str:
    voxels = " x ".join(str(count) for count in grid.shape)
    spacing = " x ".join(f"{step:.3g}" for step in grid.spacing_mm)
    return f"{voxels} voxels of {spacing} mm"


def _as_shown(labels: LabelMap, grid: Grid) -> LabelMap:
    """A map with its axes in the viewer's order, so that slices have the viewer's numbers."""
    turn = Reorientation.towards(grid, IPL)
    return replace(labels, values=turn.apply(labels.values), grid=turn.target)


def _cells(row: StructureComparison, result: Review, case: str, notes: str) -> dict[str, object]:
    remarks = "; ".join(part for part in (result.note, notes) if part)
    cells = (
        case,
        row.name,
        _number(row.dice, 5),
        _number(row.hd95_mm, 4),
        _number(row.nsd, 5),
        f"{result.tolerance_mm:g}",
        _number(row.volume_ml, 4),
        _number(row.reference_volume_ml, 4),
        remarks,
    )
    return dict(zip(COLUMNS, cells, strict=True))


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table of reviews; none when there is no file."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise WriteError(f"'{path}' is there and cannot be read: {error}") from error
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise WriteError(f"'{path.name}' holds something else than reviews; choose another name")
    return rows
