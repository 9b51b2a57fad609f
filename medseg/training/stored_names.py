"""Label names that label maps carry themselves: NIfTI of medseg, .seg.nrrd, DICOM SEG.

Names go before numbers: a structure is what its file calls it, whatever its value there.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from medseg.errors import LabelError
from medseg.volume import Label, LabelMap, LabelTable
from medseg.volume.label_map import present_values

_CODE = "NAMES_DIFFER"


def table_in_files(maps: Iterable[tuple[Path, LabelMap]]) -> LabelTable:
    """The labels that some label maps hold, by the names stored in them.

    A name that has other values in other files is one label. A value without a name is what the
    files that name it call it; where no file does, it is called "label n".

    Parameters
    ----------
    maps : iterable of (Path, LabelMap)
        Files, and what was read from each without a table.

    Returns
    -------
    LabelTable
        Of every label that a voxel of some file has. Value, colour and code come from the first
        file that names it; the value is another one where an earlier name has it.

    Raises
    ------
    LabelError
        When no voxel of any file has a label; when two files call one value differently and none
        has both names, which may be two words for one structure; or when the value of a file
        without names could be either of two structures.
    """
    first: dict[str, Label] = {}
    at_value: dict[int, dict[str, Path]] = defaultdict(dict)
    together: set[frozenset[str]] = set()
    unnamed: dict[int, Path] = {}
    for file, label_map in maps:
        labels = _present(label_map)
        named = {_key(label): label for label in labels if is_named(label)}
        for key, label in named.items():
            first.setdefault(key, label)
            at_value[label.value].setdefault(key, file)
        together |= {frozenset(pair) for pair in itertools.combinations(named, 2)}
        for label in labels:
            if not is_named(label):
                unnamed.setdefault(label.value, file)
    _check_words(first, at_value, together)
    rows = _numbered(first, {*at_value, *unnamed})
    for value, file in unnamed.items():
        _check_unnamed(value, file, rows, at_value.get(value, {}))
        rows.setdefault(value, LabelTable.of({value: f"label {value}"}).labels[0])
    if not rows:
        raise LabelError(
            "no label map holds a label: every voxel is 0, so there is nothing to learn; draw the"
            " structures, or correct the label maps"
        )
    return LabelTable(tuple(rows[value] for value in sorted(rows)))


def numbered_by_name(
    labels: LabelMap, table: LabelTable, *, where: str, renames: bool = False
) -> LabelMap:
    """A label map whose structures have the values that `table` gives their names.

    Parameters
    ----------
    labels : LabelMap
        As read without a table. A value without a name stands for itself.
    table : LabelTable
    where : str
        For errors.
    renames : bool, default False
        Whether `table` may call the values of a file otherwise than the file does, as long as it
        puts no name of the file at another value.

    Returns
    -------
    LabelMap
        Its table is `table`.

    Raises
    ------
    LabelError
        When the file has a name that is not in the table, a value without a name that is not in
        it, or such a value beside a name that the table has there.
    """
    in_table = {_key(label): label.value for label in table}
    present = _present(labels)
    named = {label.value: in_table.get(_key(label)) for label in present if is_named(label)}
    moved = any(target not in (None, value) for value, target in named.items())
    if None in named.values():
        if moved or not renames:
            other = "" if renames else ", or say with --labels what the values of all files mean"
            raise LabelError(
                f"'{where}' calls its labels {_listed(present)} and the label table has"
                f" {_listed(table)}; correct the names of one of them{other}",
                code=_CODE,
            )
        named = {}
    lookup = np.zeros(max((label.value for label in present), default=0) + 1, np.uint16)
    for label in present:
        lookup[label.value] = named.get(label.value) or label.value
    if len(set(lookup.tolist()) - {0}) < len(present):
        raise LabelError(
            f"'{where}' names some of its labels only: {_listed(present)}; by its name one of them"
            " is what another is by its value; name them all",
            code=_CODE,
        )
    table.check_values(lookup.tolist(), where=f"'{where}'")
    values = lookup[labels.values]
    small = values.astype(np.uint8) if max(table.values, default=0) < 256 else values
    return replace(labels, values=small, table=table)


def is_named(label: Label) -> bool:
    """Whether the name says more than the value does; readers call values without one so."""
    return label.name.rstrip("'") != f"label {label.value}"


def _present(labels: LabelMap) -> list[Label]:
    """The labels that a voxel has."""
    present = set(present_values(labels.values))
    return [label for label in labels.table if label.value in present]


def _key(label: Label) -> str:
    return label.name.strip().casefold()


def _listed(labels: Iterable[Label]) -> str:
    return ", ".join(f"{label.value} {label.name}" for label in labels)


def _check_words(
    first: Mapping[str, Label],
    at_value: Mapping[int, Mapping[str, Path]],
    together: set[frozenset[str]],
) -> None:
    """Refuse two names of one value that may mean one structure."""
    for value, names in at_value.items():
        for pair in itertools.combinations(names, 2):
            if frozenset(pair) not in together:
                uses = [f"'{first[name].name}' in '{names[name]}'" for name in pair]
                raise LabelError(
                    f"the label value {value} is {' and '.join(uses)}, and no file has both; give"
                    " one structure one name, or two structures two values",
                    code=_CODE,
                )


def _numbered(first: Mapping[str, Label], taken: set[int]) -> dict[int, Label]:
    """The named labels by value: that of the first file, or a free one."""
    rows: dict[int, Label] = {}
    for label in first.values():
        value = label.value if label.value not in rows else max(taken | set(rows)) + 1
        rows[value] = msgspec.structs.replace(label, value=value)
    return rows


def _check_unnamed(
    value: int, file: Path, rows: Mapping[int, Label], names: Mapping[str, Path]
) -> None:
    """Refuse a value without a name that other files give to more than one structure."""
    if names and (value not in rows or [_key(rows[value])] != list(names)):
        others = ", ".join(f"'{name}' in '{origin}'" for name, origin in names.items())
        raise LabelError(
            f"'{file}' does not say what its label value {value} is, which is {others}, and other"
            " files number the structures otherwise; name the labels in every file",
            code=_CODE,
        )
