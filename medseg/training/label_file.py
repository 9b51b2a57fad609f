"""Label names in JSON, in the forms in which datasets write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from medseg.discovery.json_file import Json, read_json
from medseg.errors import InputError, LabelError
from medseg.planning.plan import decode
from medseg.planning.regions import ORDER, Region, part_table, read_regions
from medseg.training.color_table import read_color_table
from medseg.volume import LabelTable
from medseg.volume.label_table import IGNORE


@dataclass(frozen=True)
class Meaning:
    """What label values mean.

    Parameters
    ----------
    table : LabelTable
        Single values, perhaps with one named "ignore"; for regions see
        :func:`medseg.planning.regions.part_table`.
    regions : tuple of Region
        Empty when labels exclude each other.
    """

    table: LabelTable
    regions: tuple[Region, ...] = ()


def read_label_table(path: Path) -> LabelTable:
    """Labels of a file; see :func:`read_meaning`.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    return read_meaning(path).table


def read_meaning(path: Path) -> Meaning:
    """Labels of a file, and how they make up regions.

    Parameters
    ----------
    path : Path
        JSON in a form of :func:`meaning_of`, or a colour table in one of
        :func:`medseg.training.color_table.read_color_table`.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    if not path.is_file():
        raise InputError(f"no label file '{path}'")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if path.suffix.lower() != ".json" and not text.lstrip().startswith("{"):
        return Meaning(read_color_table(path, text))
    return meaning_of(read_json(path), where=path)


def meaning_of(plain: Json, *, where: Path) -> Meaning:
    """What label values mean, from one of the forms in which datasets write it.

    Parameters
    ----------
    plain : dict
        ``{"1": "liver"}`` (Decathlon), ``{"liver": 1}`` (nnU-Net), or ``{"labels": [...]}`` with
        values, names, colours and codes as a model's manifest has them; or a ``dataset.json``
        with one of these under "labels". The name "ignore" is for voxels that nobody judged:
        they are no structure, and count neither in training nor in scores. With a list of values,
        as in ``{"whole tumor": [1, 2, 3], "tumor core": [2, 3]}``, labels are regions, and
        "regions_class_order" gives the value that is written for each.
    where : Path

    Raises
    ------
    LabelError
        When a label is no number, or regions cannot be told apart in a label map.
    """
    inner = plain.get("labels")
    if isinstance(inner, list):
        return Meaning(decode(msgspec.json.encode(plain), LabelTable, where=str(where)))
    named = inner if isinstance(inner, dict) else plain
    names = {name: value for name, value in named.items() if name != ORDER}
    if not any(isinstance(value, list) for value in names.values()):
        return Meaning(_table(names, where))
    regions = read_regions(names, plain.get(ORDER), where=str(where))
    return Meaning(part_table(regions, ignored=_ignored(names, regions, where)), regions)


def _table(names: Json, where: Path) -> LabelTable:
    """A table from names and single values, either of which may be the key."""
    rows: dict[int, str] = {}
    for key, value in names.items():
        text, number = (value, key) if key.isdigit() else (key, value)
        if not isinstance(number, int | str) or not str(number).isdigit():
            raise LabelError(
                f"label '{text}' of '{where}' has the value {number}; give one whole number"
            )
        if int(number) in rows:
            raise LabelError(
                f"'{where}' gives '{rows[int(number)]}' and '{text}' the value {number}; give each"
                " label its own"
            )
        rows[int(number)] = str(text)
    _check_background(rows, where)
    rows.pop(0, None)
    return LabelTable.of(rows)


def _check_background(rows: Mapping[int, str], where: Path) -> None:
    """Refuse a background that is not 0, which every voxel outside the structures has."""
    for value, name in rows.items():
        if value and name.strip().casefold() == "background":
            raise LabelError(
                f"'{where}' gives '{name}' the value {value}, and in label maps the background is"
                " 0; number the labels so, in the files too"
            )


def _ignored(names: Json, regions: tuple[Region, ...], where: Path) -> int | None:
    """Value of the label "ignore" beside regions."""
    value = names.get(IGNORE)
    if value is None:
        return None
    taken = {number for region in regions for number in region.values}
    if not isinstance(value, int) or value in taken:
        raise LabelError(
            f"label '{IGNORE}' of '{where}' has the value {value}; give one whole number that no"
            " region holds"
        )
    return value
