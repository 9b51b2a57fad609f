"""case.json: what a result was made of, with what, and how; the last file to be written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from medseg.workflows.record import Record
from medseg.writing import atomic, flush_to_disk
from medseg_pipelines.batch.messages import Result
from medseg_pipelines.batch.result_files import CASE_FILE

SCHEMA_VERSION = 1


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scan."""

    format: str
    modality: str
    shape: tuple[int, ...]  # voxels along I, J, K
    spacing_mm: tuple[float, ...]
    files: int
    content: str  # SHA-256 over the bytes of the files
    pixels: str  # SHA-256 over kind, shape and values of the voxels
    series: str = ""  # SeriesInstanceUID; empty when de-identified, or the scan is no DICOM
    instances: tuple[str, ...] = ()  # SOPInstanceUIDs in the order of the slices; likewise


class Superseded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A result that this one took the place of."""

    case: str
    content: str  # digest of what it was made of
    folder: str  # where it is kept, beside this one


class CaseRecord(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is to be known of the result of a case."""

    schema_version: int = SCHEMA_VERSION
    case: str  # the row of the ledger
    token: str  # the lease that it was made under
    key: str
    lineage: str
    folder: str
    source: Source
    volumes_ml: dict[str, float]
    files: dict[str, str]  # SHA-256 of every other file in the folder, by name
    supersedes: Superseded | None = None

    @property
    def result(self) -> Result:
        """What its worker reported, or should have."""
        return Result(
            case=self.case,
            token=self.token,
            state="done",
            content=self.source.content,
            volumes_ml=self.volumes_ml,
            warnings=self.warnings,
            seconds=self.seconds,
        )


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but case.json, by name."""
    return {
        path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != CASE_FILE
    }


def file_digest(path: Path) -> str:
    """SHA-256 over the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_record(folder: Path, record: CaseRecord) -> None:
    """Write case.json; it appears whole or not at all, and after it nothing is lost."""
    with atomic(folder / CASE_FILE, suffix=".json") as scratch:
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def read_record(folder: Path) -> CaseRecord | None:
    """The case.json of a folder; None when there is none that can be read."""
    return record_in(folder / CASE_FILE)


def record_in(path: Path) -> CaseRecord | None:
    """The record that a file holds; None when there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=CaseRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def sync_files(folder: Path) -> None:
    """Push the files of a folder to the disk."""
    for path in folder.iterdir():
        flush_to_disk(path)
