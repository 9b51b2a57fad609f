"""Files and folders in, scans and label maps out: one file per format, found by content.

Formats are the files of this folder; see :mod:`medseg.reading.protocol` to add one.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from medseg.errors import ReadError
from medseg.reading._policies import REFUSE, Policies
from medseg.reading._sources import ScanSource, find_scans
from medseg.reading.protocol import LabelReader, Recogniser, RepairingReader, ScanReader
from medseg.runtime import catalogue
from medseg.runtime.progress import Progress, silent
from medseg.volume import LabelMap, LabelTable, Scan

__all__ = ["Policies", "ScanSource", "find_scans", "read_labels", "read_scan"]


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
    place = _existing(path)
    reader = cast(ScanReader, _reader(place, "read"))
    if policies != REFUSE and hasattr(reader, "read_by_policy"):
        repairing = cast(RepairingReader, reader)
        return repairing.read_by_policy(place, series=series, policies=policies, progress=progress)
    return reader.read(place, series=series, progress=progress)


def read_labels(path: str | Path, *, table: LabelTable | None = None) -> LabelMap:
    """Read a label map.

    Parameters
    ----------
    path : str or Path
        A NIfTI, NRRD, MetaImage, GIPL or DICOM SEG file.
    table : LabelTable, optional
        What the values mean. Without it names come from the file where it has them, else they
        are "label 1", "label 2"...

    Returns
    -------
    LabelMap
        Values uint8 or uint16, on their grid.

    Raises
    ------
    ReadError
        When the path does not exist, is damaged or is no format that can be read.
    LabelError
        When a value is fractional, negative, above 65535 or not in `table`.
    """
    place = _existing(path)
    reader = cast(LabelReader, _reader(place, "read_labels"))
    return reader.read_labels(place, table=table)


def _existing(path: str | Path) -> Path:
    """`path` as a Path, or `ReadError` when nothing is there."""
    place = Path(path)
    if not place.exists():
        raise ReadError(f"'{place}' does not exist; check the path", code="NOT_FOUND")
    return place


def _reader(path: Path, function: str) -> Recogniser:
    """The first format, by name, that offers `function` and recognises `path`."""
    for name in catalogue.names(__name__):
        module = catalogue.load(__name__, name)
        if hasattr(module, function) and module.recognises(path):
            return cast(Recogniser, module)
    what = "a scan" if function == "read" else "a label map"
    raise ReadError(
        f"'{path}' is not recognised as {what}; known are NIfTI (.nii, .nii.gz), NRRD (.nrrd),"
        " MetaImage (.mha, .mhd), GIPL, pictures (.png, .jpg, .tif), DICOM and .zip of DICOM",
        code="UNKNOWN_FORMAT",
    )
