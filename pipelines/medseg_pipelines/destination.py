"""Where results go: checked before anything is computed, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

from medseg.errors import InputError, WriteError
from medseg.volume import Scan
from medseg.writing import label_suffixes

LABEL_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".rtstruct.dcm", ".dcm")
"""What label maps are read from, the longest suffix first where two fit."""


def check_label_file(path: Path) -> None:
    """Raise unless a label map could be written to `path`.

    Raises
    ------
    InputError
        When its suffix is unknown or it is a folder.
    WriteError
        When nothing can be written there.
    """
    known = label_suffixes()
    if not path.name.lower().endswith(known):
        raise InputError(
            f"cannot tell the format of the output '{path.name}'; end it in one of:"
            f" {', '.join(known)}"
        )
    check_file(path)


def check_file(path: Path) -> None:
    """Raise unless a file could be written to `path`.

    Raises
    ------
    InputError
        When `path` is a folder.
    WriteError
        When nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"the output '{path}' is a folder; name a file in it")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise `WriteError` unless files can be made in `folder`, or it can be made."""
    here = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        raise WriteError(
            f"cannot write into '{here}': {error.strerror or error}; choose another output folder"
        ) from error


def check_holds_series(scan: Scan, output: Path) -> None:
    """Raise `InputError` when a DICOM SEG is wanted of a scan that is no DICOM series."""
    source = scan.provenance
    if output.name.lower().endswith(".dcm") and not (source.instance_uids or source.native):
        raise InputError(
            f"a DICOM SEG ('{output.name}') must refer to a DICOM series, and this scan was read"
            f" from {source.format}; write .nii.gz instead"
        )


def write_text(path: Path, text: str) -> Path:
    """Write a text file; it appears whole or not at all.

    Parameters
    ----------
    path : Path
        Folders above it are made.
    text : str
        Stored as UTF-8.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    WriteError
        When it cannot be written; an older file stays as it was.
    """
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file; it appears whole or not at all.

    Parameters
    ----------
    path : Path
        Folders above it are made.
    content : bytes

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    WriteError
        When it cannot be written; an older file stays as it was.
    """
    scratch = path.with_name(f".medseg-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise WriteError(
            f"cannot write '{path}': {error.strerror or error}; free some space or choose another"
            " place"
        ) from error
    finally:
        with suppress(OSError):
            scratch.unlink()
    return path


def stem(path: Path) -> str:
    """File name without the suffix of its format: ``"a.nii.gz"`` gives ``"a"``."""
    for suffix in LABEL_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name
