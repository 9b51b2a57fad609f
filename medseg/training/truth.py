"""The truth of a case, read: its labels by their names where it has names, else by values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.discovery.mask_files import Masks
from medseg.errors import LabelError
from medseg.reading import picture, read_labels
from medseg.reading.dicom import rtstruct
from medseg.training.stored_names import numbered_by_name
from medseg.volume import LabelMap, LabelTable, Scan
from medseg.volume.label_map import present_values

OVERLAP = "MASKS_OVERLAP"
"""The word that begins a note of :func:`read_truth` on masks that share voxels."""
CROPPED = (".seg.nrrd", ".dcm")
"""Segmentations that may leave out what lies around the structures, as 3D Slicer's do."""


def read_truth(
    truth: Path | Masks,
    table: LabelTable | None,
    *,
    scan: Scan | None = None,
    renames: bool = False,
) -> LabelMap:
    """Read the truth of a case.

    Parameters
    ----------
    truth : Path or Masks
    table : LabelTable or None
        Which names there are, and the value that each is to have. Without it the file's own.
    scan : Scan, optional
        What was labelled: contours are drawn on it, and a segmentation that leaves out what lies
        around the structures is put into it.
    renames : bool, default False
        As :func:`~medseg.training.stored_names.numbered_by_name` takes it.

    Raises
    ------
    LabelError
        When names and values do not go together with those of the table.
    GeometryError
        When a cropped segmentation, or contours, do not lie on the scan.
    """
    if isinstance(truth, Masks):
        labels, where = _read_masks(truth), truth.first_file
    else:
        like = scan if truth.name.lower().endswith(CROPPED) else None
        if rtstruct.recognises(truth) or picture.recognises(truth):
            return read_labels(truth, table=table, like=like)
        labels, where = read_labels(truth, like=like), str(truth)
    if table is None:
        return labels
    return numbered_by_name(labels, table, where=where, renames=renames)


def _read_masks(masks: Masks) -> LabelMap:
    """One label map of a file for each structure; where two overlap, the smaller counts."""
    parts = [(name, _mask(path)) for name, path in masks.files]
    first = parts[0][1]
    values = np.zeros(first.values.shape, np.uint16)
    overlaps = []
    numbers = {name: number for number, (name, _) in enumerate(parts, start=1)}
    for name, part in sorted(parts, key=lambda row: -int(np.count_nonzero(row[1].values))):
        if not part.grid.matches(first.grid):
            raise LabelError(
                f"the masks of '{masks.first_file}' do not lie on one grid, '{name}' and"
                f" '{parts[0][0]}': {part.grid.difference(first.grid)}; resample them"
            )
        inside = part.values > 0
        for number in present_values(values[inside]):
            if number:
                shared = int(np.count_nonzero(values[inside] == number))
                overlaps.append(
                    f"{OVERLAP}: the masks '{masks.names[number - 1]}' and '{name}' beside"
                    f" '{masks.first_file}' share {shared} voxel(s), which count for the smaller,"
                    f" '{name}'"
                )
        values[inside] = numbers[name]
    table = LabelTable.of({number: name for name, number in numbers.items()})
    provenance = replace(first.provenance, notes=(*first.provenance.notes, *overlaps))
    return replace(first, values=values, table=table, provenance=provenance)


def _mask(path: Path) -> LabelMap:
    """A mask of one structure."""
    labels = read_labels(path)
    present = [value for value in present_values(labels.values) if value]
    if len(present) > 1:
        raise LabelError(
            f"'{path}' holds the values {', '.join(map(str, present[:5]))}; the mask of one"
            " structure has one value beside 0"
        )
    return labels
