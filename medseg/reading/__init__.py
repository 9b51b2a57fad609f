"""Files and folders in, scans and label maps out: one file per format, found by content.

Formats are the files of this folder, and entry points ``medseg.readers`` of installed packages; see
:mod:`medseg.reading.protocol` to add one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from medseg.errors import ReadError
from medseg.reading.align import align
from medseg.reading.error_context import in_file
from medseg.reading.policies import REFUSE, Policies
from medseg.reading.protocol import (
    ChoosingLabelReader,
    DrawnLabelReader,
    LabelReader,
    Recogniser,
    RepairingReader,
    ScanReader,
)
from medseg.reading.segment_selection import Overlaps, SegmentSelection, select
from medseg.runtime import registry
from medseg.runtime.progress import Progress, silent
from medseg.volume import LabelMap, LabelTable, Scan

__all__ = [
    "Policies",
    "SegmentSelection",
    "read_labels",
    "read_scan",
]

READERS = (
    "dicom.seg",
    "dicom.series",
    "itk_image",
    "nifti",
    "picture",
    "dicom.rtstruct",
    "zip_archive",
)
"""Formats in the order in which they are asked whether a file is theirs; plug-ins come last."""


def read_scan(
    path: str | Path,
    *,
    series: str | None = None,
    policies: Policies = REFUSE,
    progress: Progress = silent,
) -> Scan:
    """Read a scan from a file or from a folder of DICOM slices.

    Parameters
    ----------
    path : str or Path
        A NIfTI, NRRD, MetaImage or GIPL file, a picture, a DICOM file that is whole by itself, a
        DICOM folder, or a zip archive of one.
    series : str, optional
        Which DICOM series of a folder: its SeriesInstanceUID, a beginning of it that no other
        series has, or its place (from 1) in the list that the error without it shows.
    policies : Policies, optional
        What to do with uneven or missing slices; they are refused unless this says otherwise.
    progress : Progress, optional
        Called after each step; raising `medseg.errors.Cancelled` in it stops the work.

    Returns
    -------
    Scan
        Voxels (C, I, J, K) on their grid, integers where the file's values are.

    Raises
    ------
    ReadError
        When the path does not exist, is damaged or is no format that can be read.
    SelectionError
        When a folder holds several series and `series` does not choose one.
    GeometryError
        When the voxels cannot be placed in the patient (uneven or missing slices, no position).
    """
    source = _existing(path)
    reader = cast(ScanReader, _reader(source, "read"))
    if policies != REFUSE and hasattr(reader, "read_by_policy"):
        repairing = cast(RepairingReader, reader)
        return repairing.read_by_policy(source, series=series, policies=policies, progress=progress)
    return reader.read(source, series=series, progress=progress)


def read_labels(
    path: str | Path,
    *,
    table: LabelTable | None = None,
    like: Scan | None = None,
    segments: Sequence[int | str] = (),
    overlaps: Overlaps = "refuse",
    progress: Progress = silent,
) -> LabelMap:
    """Read a label map.

    Parameters
    ----------
    path : str or Path
        A NIfTI, NRRD, MetaImage, GIPL, DICOM SEG or RT Structure Set file, or a PNG or TIFF mask.
    table : LabelTable, optional
        What the values mean. Without it names come from the file where it has them, else they
        are "label 1", "label 2"...
    like : Scan, optional
        The scan that was labelled. The map is put on its grid, voxel by voxel, and has its
        provenance, so that DICOM results can be written of it. Without it an RT Structure Set is
        read on the images in its folder, and other formats on their own grid.
    segments : sequence of int or str, optional
        Numbers (of DICOM SEG and RT Structure Set the file's own, else the values) or names of the
        labels to take; all when empty.
    overlaps : {"refuse", "first", "last"}, optional
        What a voxel becomes that several segments of a DICOM SEG or RT Structure Set hold: the
        first or last of them, in the order of `segments` or else of the file. A note in the
        provenance says what overlapped.
    progress : Progress, optional
        Called while contours or frames are drawn; may raise to cancel.

    Returns
    -------
    LabelMap
        Values uint8 or uint16, on their grid.

    Raises
    ------
    ReadError
        When the path does not exist, is damaged or is no format that can be read.
    LabelError
        When a value is fractional, negative, above 65535 or not in `table`, there is no such
        segment, or segments overlap.
    GeometryError
        When labels do not lie on the voxels of `like`.
    """
    source = _existing(path)
    choice = SegmentSelection(segments=tuple(segments), overlaps=overlaps)
    reader = _reader(source, "read_labels")
    if like is not None and hasattr(reader, "read_labels_on"):
        contour_reader = cast(DrawnLabelReader, reader)
        return contour_reader.read_labels_on(
            source, scan=like, table=table, choice=choice, progress=progress
        )
    labels = _selected(reader, source, table, choice, progress)
    if like is None:
        return labels
    with in_file(source):
        return align(labels, like)


def _selected(
    reader: Recogniser,
    path: Path,
    table: LabelTable | None,
    choice: SegmentSelection,
    progress: Progress,
) -> LabelMap:
    """The selected labels: selected while reading where they may overlap, else afterwards."""
    if hasattr(reader, "read_labels_by_choice"):
        selecting = cast(ChoosingLabelReader, reader)
        return selecting.read_labels_by_choice(path, table=table, choice=choice, progress=progress)
    labels = cast(LabelReader, reader).read_labels(path, table=table)
    with in_file(path):
        return select(labels, choice)


def _readers() -> Iterator[Recogniser]:
    """Formats in the order in which they are asked: medseg's own, then those of other packages."""
    for name in READERS:
        yield cast(Recogniser, importlib.import_module(f"{__name__}.{name}"))
    yield from registry.plugins(__name__).values()


def _existing(path: str | Path) -> Path:
    """`path` as a Path, or `ReadError` when nothing is there."""
    existing = Path(path)
    if not existing.exists():
        raise ReadError(f"'{existing}' does not exist; check the path", code="NOT_FOUND")
    return existing


def _reader(path: Path, function: str) -> Recogniser:
    """The first format that offers `function` and recognises `path`."""
    for reader in _readers():
        if hasattr(reader, function) and reader.recognises(path):
            return reader
    content = "a scan" if function == "read" else "a label map"
    raise ReadError(
        f"'{path}' is not recognised as {content}; known are NIfTI (.nii, .nii.gz), NRRD (.nrrd),"
        " MetaImage (.mha, .mhd), GIPL, pictures (.png, .jpg, .tif), DICOM and .zip of DICOM",
        code="UNKNOWN_FORMAT",
    )
