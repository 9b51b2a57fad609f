"""Label maps and scans out: one file per format, chosen by suffix, checked after writing.

Formats are the files of this folder, and entry points ``medseg.writers`` of installed packages; see
:mod:`medseg.writing.protocol` to add one.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from medseg.errors import WriteError
from medseg.runtime import registry
from medseg.volume import LabelMap, Scan
from medseg.writing._atomic import atomic, flush_to_disk, replaced, write_bytes, write_text
from medseg.writing.protocol import (
    LabelWriter,
    Obstacle,
    ScanWriter,
    SelectiveLabelWriter,
    Writer,
)

__all__ = [
    "Obstacle",
    "atomic",
    "check_encoding",
    "flush_to_disk",
    "label_suffixes",
    "obstacle",
    "replaced",
    "scan_suffixes",
    "write_bytes",
    "write_labels",
    "write_scan",
    "write_text",
]


def label_suffixes() -> tuple[str, ...]:
    """Endings of the files that label maps can be written to, sorted."""
    return tuple(sorted(_owners("write_labels")))


def scan_suffixes() -> tuple[str, ...]:
    """Endings of the files that scans can be written to, sorted."""
    return tuple(sorted(_owners("write_scan")))


def check_encoding(path: str | Path, encoding: str | None) -> None:
    """Raise unless a label map could be written to `path` in this encoding.

    Parameters
    ----------
    path : str or Path
        Its suffix says the format; nothing is written.
    encoding : str or None

    Raises
    ------
    WriteError
        When the suffix is unknown, or its format does not have the encoding.
    """
    path, writer = _writer(path, "write_labels", overwrite=True)
    _options(encoding, path, writer)


def obstacle(subject: Scan | LabelMap, path: str | Path) -> Obstacle | None:
    """Why the format of `path` cannot hold a label map; None when it can.

    Parameters
    ----------
    subject : Scan or LabelMap
        A scan whose labels are to be written, or the labels.
    path : str or Path
        Its suffix says the format; nothing is written.

    Raises
    ------
    WriteError
        When the suffix is unknown.
    """
    _, writer = _writer(path, "write_labels", overwrite=True)
    if not hasattr(writer, "obstacle"):
        return None
    return cast(SelectiveLabelWriter, writer).obstacle(subject)


def write_labels(
    labels: LabelMap, path: str | Path, *, overwrite: bool = True, encoding: str | None = None
) -> Path:
    """Write a label map in the format that the suffix names.

    Parameters
    ----------
    labels : LabelMap
        What to write, in the path its grid says.
    path : str or Path
        .nii or .nii.gz (NIfTI), .nrrd, .seg.nrrd or .mha; for labels of a DICOM scan .dcm (DICOM
        SEG), .rtstruct.dcm (RT Structure Set) or .sr.dcm (volumes, TID 1500); of a picture .png or
        .tif; .csv or .json (volumes), .stl, .ply or .obj (surfaces). The folder must exist.
    overwrite : bool, default True
        Whether a file that is there may be replaced.
    encoding : {"binary", "labelmap", "auto"}, optional
        Of a DICOM SEG, see :func:`medseg.writing.dicom_seg.write_labels`, or of the one that an
        SR refers to; other formats have none.

    Returns
    -------
    Path
        Of the file, which is complete: it was read back and compared before it got its name.

    Raises
    ------
    WriteError
        When it cannot be written; nothing half-written is left behind.
    """
    path, writer = _writer(path, "write_labels", overwrite=overwrite)
    cast(LabelWriter, writer).write_labels(labels, path, **_options(encoding, path, writer))
    return path


def write_scan(scan: Scan, path: str | Path, *, overwrite: bool = True) -> Path:
    """Write a scan in the format that the suffix names.

    Parameters
    ----------
    scan : Scan
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
    path, writer = _writer(path, "write_scan", overwrite=overwrite)
    cast(ScanWriter, writer).write_scan(scan, path)
    return path


def _options(encoding: str | None, path: Path, writer: Writer) -> dict[str, str]:
    """What the writer is told of `encoding`, or `WriteError` when the format does not have it."""
    if encoding is None:
        return {}
    encodings: tuple[str, ...] = getattr(writer, "encodings", ())
    if encoding not in encodings:
        choice = (
            f"known are {', '.join(encodings)}" if encodings else "this format has no choice of it"
        )
        raise WriteError(f"'{path.name}' has no encoding '{encoding}'; {choice}", code="ENCODING")
    return {"encoding": encoding}


def _writer(path: str | Path, function: str, *, overwrite: bool) -> tuple[Path, Writer]:
    """The format with `function` that owns the suffix of `path`; the longest suffix wins."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise WriteError(f"'{path}' exists already; choose another name", code="EXISTS")
    owners = _owners(function)
    for suffix in sorted(owners, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path, owners[suffix]
    raise WriteError(
        f"'{path.name}' has no suffix that can be written; known are {', '.join(sorted(owners))}",
        code="UNKNOWN_FORMAT",
    )


def _owners(function: str) -> dict[str, Writer]:
    """The format of each suffix, of the formats with `function`."""
    owners: dict[str, Writer] = {}
    names: dict[str, str] = {}
    for name, writer in registry.load_all(__name__).items():
        for suffix in writer.suffixes if hasattr(writer, function) else ():
            if suffix in owners:
                raise WriteError(
                    f"two writers own the suffix '{suffix}': '{names[suffix]}' and '{name}'"
                    f" ({registry.source(__name__, name)}); uninstall the package of one",
                    code="TWO_PARTS",
                )
            owners[suffix], names[suffix] = cast(Writer, writer), name
    return owners
