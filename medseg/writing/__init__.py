"""Label maps and scans out: one file per format, chosen by suffix, checked after writing.

Formats are the files of this folder; see :mod:`medseg.writing.protocol` to add one.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from medseg.errors import WriteError
from medseg.runtime import catalogue
from medseg.volume import LabelMap, Scan
from medseg.writing.protocol import LabelWriter, ScanWriter, Writer

__all__ = ["write_labels", "write_scan"]


def write_labels(labels: LabelMap, path: str | Path, *, overwrite: bool = True) -> Path:
    """Write a label map in the format that the suffix names.

    Parameters
    ----------
    labels : LabelMap
        What to write, in the place its grid says.
    path : str or Path
        .nii or .nii.gz (NIfTI), .nrrd, .mha or .mhd, or .dcm (DICOM SEG; only for labels of a
        DICOM scan). The folder must exist.
    overwrite : bool, default True
        Whether a file that is there may be replaced.

    Returns
    -------
    Path
        Of the file, which is complete: it was read back and compared before it got its name.

    Raises
    ------
    WriteError
        When it cannot be written; nothing half-written is left behind.
    """
    place, writer = _writer(path, "write_labels", overwrite=overwrite)
    cast(LabelWriter, writer).write_labels(labels, place)
    return place


def write_scan(scan: Scan, path: str | Path, *, overwrite: bool = True) -> Path:
    """Write a scan in the format that the suffix names.

    Parameters
    ----------
    scan : Scan
        What to write.
    path : str or Path
        .nii or .nii.gz (NIfTI), .nrrd, .mha or .mhd. The folder must exist.
    overwrite : bool, default True
        Whether a file that is there may be replaced.

    Returns
    -------
    Path
        Of the file, read back and compared before it got its name.

    Raises
    ------
    WriteError
        When it cannot be written; nothing half-written is left behind.
    """
    place, writer = _writer(path, "write_scan", overwrite=overwrite)
    cast(ScanWriter, writer).write_scan(scan, place)
    return place


def _writer(path: str | Path, function: str, *, overwrite: bool) -> tuple[Path, Writer]:
    """The format with `function` that owns the suffix of `path`; the longest suffix wins."""
    place = Path(path)
    if place.exists() and not overwrite:
        raise WriteError(f"'{place}' exists already; choose another name", code="EXISTS")
    owners: dict[str, Writer] = {}
    for name in catalogue.names(__name__):
        module = catalogue.load(__name__, name)
        if hasattr(module, function):
            owners.update(dict.fromkeys(module.suffixes, cast(Writer, module)))
    for suffix in sorted(owners, key=len, reverse=True):
        if place.name.lower().endswith(suffix):
            return place, owners[suffix]
    raise WriteError(
        f"'{place.name}' has no suffix that can be written; known are {', '.join(sorted(owners))}",
        code="UNKNOWN_FORMAT",
    )
