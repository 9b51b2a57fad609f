"""case.json: what a result was made of, with what, and how; the last file to be written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from medseg.workflows.record import Record
from medseg.writing import replaced
from medseg_pipelines.batch.ledger.layout import CASE_FILE

SCHEMA_VERSION = 1
_CHUNK = 1 << 20


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scan.

    Parameters
    ----------
    format, modality : str
    shape : tuple of int
        Voxels along I, J, K.
    spacing_mm : tuple of float
    files : int
    content : str
        SHA-256 over the bytes of the files.
    pixels : str
        SHA-256 over kind, shape and values of the voxels.
    series : str
        SeriesInstanceUID; empty when results are de-identified, or the scan is no DICOM.
    instances : tuple of str
        SOPInstanceUIDs in the order of the slices; empty as `series` is.
    """

    format: str
    modality: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    files: int
    content: str
    pixels: str
    series: str = ""
    instances: tuple[str, ...] = ()


class Superseded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A result that this one took the place of.

    Parameters
    ----------
    case, content : str
        Its name, and the digest of what it was made of.
    folder : str
        Where it is kept, beside this one.
    """

    case: str
    content: str
    folder: str


class CaseRecord(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is to be known of the result of a case.

    Parameters
    ----------
    schema_version : int
    case, token : str
        The row of the ledger, and the lease that it was made under.
    key, lineage, folder : str
    source : Source
    volumes_ml : dict of str to float
    files : dict of str to str
        SHA-256 of every other file in the folder, by name.
    supersedes : Superseded or None
    """

    schema_version: int = SCHEMA_VERSION
    case: str
    token: str
    key: str
    lineage: str
    folder: str
    source: Source
    volumes_ml: dict[str, float]
    files: dict[str, str]
    supersedes: Superseded | None = None


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but case.json, by name."""
    return {
        path.name: file_digest([path])
        for path in sorted(folder.iterdir())
        if path.name != CASE_FILE
    }


def file_digest(paths: list[Path]) -> str:
    """SHA-256 over the bytes of files, one after the other.

    Raises
    ------
    OSError
        When one cannot be read.
    """
    seen = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                seen.update(chunk)
    return seen.hexdigest()


def write_record(folder: Path, record: CaseRecord) -> None:
    """Write case.json; it appears whole or not at all, and after it nothing is lost.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    with replaced(folder / CASE_FILE, suffix=".json") as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def read_record(folder: Path) -> CaseRecord | None:
    """The case.json of a folder; None when there is none that can be read."""
    try:
        return msgspec.json.decode((folder / CASE_FILE).read_bytes(), type=CaseRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def is_whole(folder: Path, record: CaseRecord) -> bool:
    """Whether a folder holds exactly the files that its record tells of, byte by byte."""
    try:
        return file_digests(folder) == record.files
    except OSError:
        return False


def sync_files(folder: Path) -> None:
    """Push the files of a folder to the disk.

    Raises
    ------
    OSError
        When the disk does not take them.
    """
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Push a folder's list of names to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
