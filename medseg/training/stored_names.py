"""Label names that label maps carry themselves: NIfTI of medseg, .seg.nrrd, DICOM SEG."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medseg.errors import LabelError
from medseg.volume import Label, LabelMap, LabelTable
from medseg.volume.label_map import present_values


def table_in_files(maps: Iterable[tuple[Path, LabelMap]]) -> LabelTable:
    """The labels that some label maps hold, by the names stored in them.

    A file without names says nothing of what its values mean; where no file names a value it is
    called "label n".

    Parameters
    ----------
    maps : iterable of (Path, LabelMap)
        Files, and what was read from each without a table.

    Returns
    -------
    LabelTable
        Every value that a voxel of some file has. Colour and code come from the first file that
        names it.

    Raises
    ------
    LabelError
        When no voxel of any file has a label; or two files have different names for one value, or
        one name at different values: a network would learn one structure for the other.
    """
    labels: dict[int, Label] = {}
    origins: dict[int, Path] = {}
    for file, label_map in maps:
        present = set(present_values(label_map.values))
        for label in label_map.table:
            if label.value in present:
                _check_name(label, file, labels, origins)
                if label.value not in labels or not is_named(labels[label.value]):
                    labels[label.value], origins[label.value] = label, file
    if not labels:
        raise LabelError(
            "no label map holds a label: every voxel is 0, so there is nothing to learn; draw the"
            " structures, or correct the label maps"
        )
    return LabelTable(tuple(labels[value] for value in sorted(labels)))


def _check_name(
    label: Label, file: Path, labels: dict[int, Label], origins: dict[int, Path]
) -> None:
    """Raise `LabelError` when a label of `file` contradicts those of earlier files."""
    earlier = labels.get(label.value)
    if earlier and is_named(earlier) and is_named(label) and not _same_name(earlier, label):
        raise LabelError(
            f"the label value {label.value} is '{earlier.name}' in '{origins[label.value]}' and"
            f" '{label.name}' in '{file}'; number the structures alike in every label map",
            code="NAMES_DIFFER",
        )
    for value, other in labels.items():
        if value != label.value and _same_name(other, label):
            raise LabelError(
                f"'{label.name}' is the label value {value} in '{origins[value]}' and"
                f" {label.value} in '{file}'; number the structures alike in every label map",
                code="NAMES_DIFFER",
            )


def is_named(label: Label) -> bool:
    """Whether the name says more than the value does; readers call values without one so."""
    return label.name.rstrip("'") != f"label {label.value}"


def _same_name(label: Label, other: Label) -> bool:
    return label.name.strip().casefold() == other.name.strip().casefold()
