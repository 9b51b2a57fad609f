"""``dataset.json`` of nnU-Net v2: what channels and labels are called."""

from __future__ import annotations

from typing import Any

import msgspec

from medseg.errors import LabelError, PackageError
from medseg.model_package.interop.structure_codes import coded
from medseg.planning.plan import Regions
from medseg.planning.regions import ORDER, class_regions, part_table, read_regions
from medseg.volume import LabelTable
from medseg.volume.label_table import IGNORE

_MODALITIES = {
    "CT": ("ct",),
    "MR": ("mr", "mri", "t1", "t1w", "t1c", "t1ce", "t1gd", "t1n", "t2", "t2w", "flair", "adc"),
    "PT": ("pet",),
}
"""Names of channels by DICOM's word for their modality."""


class DatasetFile(msgspec.Struct, frozen=True, kw_only=True):
    """What medseg needs of ``dataset.json``.

    Parameters
    ----------
    labels : dict of str to int or list of int
        One value, or those of a region.
    regions_class_order : list of int or None
        Value that is written for each region, in the order of the network's channels.
    channel_names, modality : dict of str to str
        By number; `modality` is the older word.
    description, reference, licence, license : object
        For people; text, mostly.
    """

    labels: dict[str, int | list[int]]
    regions_class_order: list[int] | None = None
    channel_names: dict[str, str] = {}
    modality: dict[str, str] = {}
    description: Any = ""
    reference: Any = ""
    licence: Any = ""
    license: Any = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names in the order of their numbers; two of one name are told apart by these."""
        rows = sorted((self.channel_names or self.modality).items(), key=lambda row: int(row[0]))
        names = [name for _, name in rows]
        return tuple(
            name if names.count(name) == 1 else f"{name} {number}" for number, name in rows
        )

    @property
    def dicom_modality(self) -> str:
        """DICOM's word for the modality that all channels are of; empty where they do not say."""
        names = {name.casefold() for name in (self.channel_names or self.modality).values()}
        fitting = (word for word, others in _MODALITIES.items() if names <= {*others})
        return next(fitting, "") if names else ""

    @property
    def has_regions(self) -> bool:
        """Whether the network's channels are regions: one of them has several values."""
        return any(isinstance(value, list) and len(value) > 1 for value in self.labels.values())


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What the network's channels stand for.

    Parameters
    ----------
    labels : LabelTable
        Of what is written into a label map.
    regions : tuple of tuple of int
        As a plan has them; empty when labels exclude each other.
    structures : dict of str to str
        Names by the keys that nnU-Net's scores have: ``"1"``, or ``"(1, 2)"`` for a region.
    values : int
        How many label values there are besides the background, those in regions counted alone.
    """

    labels: LabelTable
    regions: Regions
    structures: dict[str, str]
    values: int


def meaning_of(dataset: DatasetFile, *, where: str) -> Meaning:
    """Labels and regions as medseg has them.

    Parameters
    ----------
    dataset : DatasetFile
    where : str
        Of the file, for messages.

    Raises
    ------
    PackageError
        When values do not count up from 1, or what regions write does not.
    LabelError
        When the order of regions is missing or names are no names.
    """
    values = {
        name: value
        for name, value in dataset.labels.items()
        if name != IGNORE and value not in (0, [0])
    }
    if dataset.has_regions:
        return _of_regions(values, dataset.regions_class_order, where)
    single = {
        name: value[0] if isinstance(value, list) else value for name, value in values.items()
    }
    _check_counting(single.values(), "labels", where)
    table = LabelTable.of({value: name for name, value in single.items()})
    structures = {str(value): name for name, value in single.items()}
    return Meaning(labels=coded(table), regions=(), structures=structures, values=len(table))


def _of_regions(values: dict[str, int | list[int]], order: list[int] | None, where: str) -> Meaning:
    if order is None or len(order) != len(values):
        raise LabelError(
            f"{where} names {len(values)} regions and its '{ORDER}' is {order}; it needs one value"
            " for each region"
        )
    _check_counting(order, f"values in '{ORDER}'", where)
    structures = {_score_key(value): name for name, value in values.items()}
    try:
        nested = read_regions(values, order, where=where)
        table, regions = part_table(nested), class_regions(nested)
    except LabelError:  # regions that cross: each still writes its value over those before it
        table = LabelTable.of(dict(zip(order, values, strict=True)))
        regions = tuple((written,) for written in order)
    members = {member for value in values.values() for member in _several(value)} - {0}
    return Meaning(labels=coded(table), regions=regions, structures=structures, values=len(members))


def _several(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


def _score_key(value: int | list[int]) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def _check_counting(values: Any, what: str, where: str) -> None:
    """Raise unless `values` are 1, 2, 3... in any order, as the network's channels are counted."""
    if sorted(values) != list(range(1, len(values) + 1)):
        raise PackageError(
            f"{where} has the {what} {sorted(values)}; nnU-Net needs them to be 1 to"
            f" {len(values)}, each once",
            code="LABELS",
        )
