"""Regions that hold one another, such as a whole tumour and its core, and their order.

A label map has one value for each voxel, so it shows a region as several values: its own, where no
smaller region is, and those of the regions inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medseg.errors import LabelError
from medseg.planning.plan import Regions
from medseg.volume import Label, LabelTable
from medseg.volume.label_table import IGNORE, default_color

ORDER = "regions_class_order"
"""nnU-Net's word for the value that each region has in a label map."""
LONGEST_NAME = 64
"""Characters of a segment's name in DICOM."""
_WITHOUT, _REST = " without {}", " (rest)"


@dataclass(frozen=True)
class Region:
    """A structure that may hold smaller ones.

    Parameters
    ----------
    name : str
    values : frozenset of int
        Label values it is made of, none of them 0.
    written : int
        The one of `values` that a label map has where this region is and no later one.
    """

    name: str
    values: frozenset[int]
    written: int


def read_regions(labels: Mapping[str, Any], order: Any, *, where: str) -> tuple[Region, ...]:
    """Regions in the order in which they are written into a label map.

    Parameters
    ----------
    labels : mapping
        Name to a value or a list of values, as nnU-Net's ``dataset.json`` has them; value 0 and the
        name "ignore" are no regions.
    order : list of int
        For each region the value that is written for it.
    where : str

    Raises
    ------
    LabelError
        When the order is missing or does not match the regions, or regions overlap without one
        holding the other.
    """
    members = {name: _values(name, value, where) for name, value in labels.items()}
    members = {name: values for name, values in members.items() if name != IGNORE and values != {0}}
    if not isinstance(order, list) or len(order) != len(members):
        raise LabelError(
            f"'{where}' names {len(members)} regions and '{ORDER}' is {order}; give a list of one"
            " value for each region, outer regions first"
        )
    rows = zip(members.items(), order, strict=True)
    regions = tuple(Region(name, values, value) for (name, values), value in rows)
    for row, region in enumerate(regions):
        _check(region, regions[row + 1 :], where)
    return regions


def _values(name: str, value: Any, where: str) -> frozenset[int]:
    """Values of one region; 0 only alone, as the background."""
    values = value if isinstance(value, list) else [value]
    whole = all(isinstance(number, int) and number >= 0 for number in values)
    if not whole or not values or (0 in values and len(values) > 1):
        raise LabelError(
            f"region '{name}' of '{where}' has the value(s) {value}; give whole numbers from 1 on"
        )
    return frozenset(values)


def _check(region: Region, later: Sequence[Region], where: str) -> None:
    """Raise `LabelError` when a label map could not show a region beside the later ones."""
    if region.written not in region.values:
        raise LabelError(
            f"'{ORDER}' of '{where}' gives '{region.name}' the value {region.written}, which is"
            f" none of its values {sorted(region.values)}; give one of them, in the order of the"
            " labels"
        )
    for other in later:
        if region.written in other.values:
            raise LabelError(
                f"'{ORDER}' of '{where}' gives '{region.name}' the value {region.written}, which"
                f" '{other.name}' holds too and would overwrite; list outer regions before inner"
                " ones"
            )
        if region.values & other.values and not other.values <= region.values:
            raise LabelError(
                f"regions '{region.name}' and '{other.name}' of '{where}' share values but neither"
                " holds the other, and no label map can show both; make one part of the other"
            )


def part_table(regions: Sequence[Region], *, ignored: int | None = None) -> LabelTable:
    """What the values of a label map mean: of each region, the part outside the later ones.

    Parameters
    ----------
    regions : sequence of Region
        In the order in which they are written.
    ignored : int, optional
        Value of the label "ignore".

    Returns
    -------
    LabelTable
        A region that holds others is called "whole tumor without tumor core", so that its volume is
        not taken for that of the whole.
    """
    names = {
        region.written: _part_name(region, regions[row + 1 :]) for row, region in enumerate(regions)
    }
    if ignored is not None:
        names[ignored] = IGNORE
    return LabelTable.of(names)


def _part_name(region: Region, later: Sequence[Region]) -> str:
    """The region's name, and which regions are not in this part of it."""
    inner = _names_inside(region, later)
    if not inner:
        return region.name
    name = region.name + _WITHOUT.format(" and ".join(inner))
    return name if len(name) <= LONGEST_NAME else region.name + _REST


def _name_of_part(part: Region, later: Sequence[Region]) -> str:
    """The name of the whole region, from that of its part."""
    inner = _names_inside(part, later)
    if not inner:
        return part.name
    return part.name.removesuffix(_WITHOUT.format(" and ".join(inner))).removesuffix(_REST)


def _names_inside(region: Region, later: Sequence[Region]) -> list[str]:
    """Names of the regions directly inside one, in their order."""
    inner = [other for other in later if other.values <= region.values]
    return [
        region.name for region in inner if not any(region.values < other.values for other in inner)
    ]


def regions_of_classes(classes: Regions, parts: LabelTable) -> tuple[Region, ...]:
    """Regions of a model from its plan and its labels, which name the parts.

    Parameters
    ----------
    classes : tuple of tuple of int
    parts : LabelTable
        As :func:`part_table` gave it; of other names a region has that of its own part.

    Returns
    -------
    tuple of Region
        In the order in which they are written.
    """
    regions: list[Region] = []
    for own in reversed(classes):
        values = [parts.values[number - 1] for number in own]
        region = Region(parts.names[own[0] - 1], frozenset(values), values[0])
        name = _name_of_part(region, regions)
        regions.insert(0, replace(region, name=name))
    return tuple(regions)


def value_table(regions: Sequence[Region], parts: LabelTable) -> LabelTable:
    """The table of `parts` and every value besides that a region is made of."""
    unnamed = {value for region in regions for value in region.values} - set(parts.values)
    extra = [
        Label(value=value, name=f"value {value}", color=default_color(value)) for value in unnamed
    ]
    return LabelTable(tuple(sorted((*parts, *extra), key=lambda label: label.value)))


def part_of_value(regions: Sequence[Region]) -> dict[int, int]:
    """For each value the one that is written where it is: that of the last region it is in."""
    return {value: region.written for region in regions for value in region.values}


def class_regions(regions: Sequence[Region]) -> Regions:
    """Regions as class indices, as a plan has them.

    Parameters
    ----------
    regions : sequence of Region
        In the order in which they are written.

    Returns
    -------
    tuple of tuple of int
        Classes count from 1 in the ascending order of what is written. The first class of a region
        is its own, and the others are those of the regions inside it.
    """
    ranked = sorted(region.written for region in regions)
    inside = (
        [region.written, *sorted(set(ranked) & region.values - {region.written})]
        for region in regions
    )
    return tuple(tuple(ranked.index(value) + 1 for value in values) for values in inside)
