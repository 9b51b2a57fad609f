"""A dataset that grows case by case: scans and corrected labels, and how far each is checked.

The folder is an ordinary dataset (``images/``, ``labels/``, ``labels.json``, ``dataset.json``) with
one more file, ``cases.json``, that says of every case whether it is raw, a draft or reviewed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np
from filelock import FileLock

from medseg.discovery.json_file import read_json
from medseg.errors import GeometryError, InputError
from medseg.planning.plan import decode, encode
from medseg.training.label_file import read_label_table
from medseg.volume import LabelMap, LabelTable, Scan
from medseg.writing import atomic, write_labels, write_scan

SIDECAR = "cases.json"
LABELS, DATASET = "labels.json", "dataset.json"
Status = Literal["raw", "draft", "reviewed"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""From "nobody looked" to "may be learnt from"."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGITS = 12


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a case besides its two files.

    Parameters
    ----------
    name : str
        Of the files, without ending.
    digest : str
        Of the scan: of its DICOM identifiers, or of its voxels.
    status : {"raw", "draft", "reviewed"}
        How far its labels were checked.
    """

    name: str
    digest: str
    status: Status


class CaseList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file ``cases.json``."""

    schema_version: Literal[1] = 1
    cases: tuple[CaseRecord, ...] = ()


@dataclass(frozen=True)
class CaseFolder:
    """A folder of cases to train on.

    Parameters
    ----------
    path : Path
        Made with its first case when it is not there.
    """

    path: Path

    def records(self) -> tuple[CaseRecord, ...]:
        """The cases that were added, by name.

        Raises
        ------
        PlanError
            When ``cases.json`` does not decode.
        """
        file = self.path / SIDECAR
        if not file.is_file():
            return ()
        return decode(file.read_bytes(), CaseList, where=str(file)).cases

    def labels(self) -> LabelTable:
        """What the label values of the folder mean; empty before the first case."""
        file = self.path / LABELS
        return read_label_table(file) if file.is_file() else LabelTable(())

    def add(
        self, scan: Scan, labels: LabelMap, *, status: Status = "draft", name: str = ""
    ) -> CaseRecord:
        """Add a case, or give the same scan new labels.

        Parameters
        ----------
        scan : Scan
            As read; its own grid is kept.
        labels : LabelMap
            On the scan's grid. Structures are numbered as in the folder, by their names.
        status : {"raw", "draft", "reviewed"}, default "draft"
            How far the labels were checked.
        name : str, optional
            In place of digits of the digest, for a new case; never a patient's name.

        Raises
        ------
        GeometryError
            When labels and scan lie on different grids.
        InputError
            When the name cannot be used, or the scan is of another kind than those in the folder.
        WriteError
            When a file cannot be written.
        """
        if not labels.grid.matches(scan.grid):
            raise GeometryError(
                "the labels do not lie on the scan's grid:"
                f" {labels.grid.difference(scan.grid)}; bring them to it before adding the case",
                code="GRIDS_DIFFER",
            )
        _make(self.path)
        with FileLock(self.path / ".cases.lock", timeout=60):
            record = self._record(scan, status, name)
            self._write_dataset_json(scan)
            self._write_case(scan, labels, record.name)
            self._write_records([*self._others(record.name), record])
        return record

    def set_status(self, name: str, status: Status) -> None:
        """Say how far the labels of a case were checked.

        Raises
        ------
        InputError
            When there is no such case.
        """
        with FileLock(self.path / ".cases.lock", timeout=60):
            records = [record for record in self.records() if record.name == name]
            if not records:
                raise InputError(f"'{self.path}' holds no case '{name}'; add it first")
            changed = msgspec.structs.replace(records[0], status=status)
            self._write_records([*self._others(name), changed])

    def files(self, name: str) -> tuple[Path, Path]:
        """Scan and label map of a case."""
        return self.path / "images" / f"{name}.nii.gz", self.path / "labels" / f"{name}.nii.gz"

    def _others(self, name: str) -> list[CaseRecord]:
        return [record for record in self.records() if record.name != name]

    def _record(self, scan: Scan, status: Status, name: str) -> CaseRecord:
        digest = scan_digest(scan)
        for record in self.records():
            if record.digest == digest:
                return msgspec.structs.replace(record, status=status)
        name = name.strip() or f"case-{digest[:_DIGITS]}"
        if not _NAME.fullmatch(name):
            raise InputError(
                f"a case cannot be called '{name}': use up to 64 letters, digits, '.', '-', '_'"
            )
        if any(file.exists() for file in self.files(name)) and self._is_taken(name):
            raise InputError(f"another scan is called '{name}' already; choose another name")
        return CaseRecord(name=name, digest=digest, status=status)

    def _is_taken(self, name: str) -> bool:
        """Whether a case of that name is complete; half of one is what a crash left."""
        return all(file.exists() for file in self.files(name))

    def _write_dataset_json(self, scan: Scan) -> None:
        """dataset.json with the first case; later ones must be of its kind."""
        file = self.path / DATASET
        channels = read_json(file).get("channel_names")
        if not isinstance(channels, dict):
            given = scan.channel_names or (scan.modality or "unknown",) * scan.channels
            names = {str(number): name for number, name in enumerate(given)}
            about = {"name": self.path.resolve().name, "channel_names": names}
            _write_text(file, json.dumps(about, indent=2) + "\n")
            return
        if len(channels) != scan.channels:
            raise InputError(
                f"the scan has {scan.channels} channel(s) and those of '{self.path.name}' have"
                f" {len(channels)}; keep scans of another kind in another folder"
            )
        modality = str(channels.get("0", ""))
        if scan.modality and modality not in (scan.modality, "unknown"):
            raise InputError(
                f"the scan is {scan.modality} and those of '{self.path.name}' are {modality}; keep"
                " scans of another kind in another folder"
            )

    def _write_case(self, scan: Scan, labels: LabelMap, name: str) -> None:
        image, truth = self.files(name)
        numbered = numbered_as(labels, self.labels())
        table = msgspec.json.encode({"labels": numbered.table.labels})
        _write_text(self.path / LABELS, msgspec.json.format(table, indent=2).decode() + "\n")
        if not image.is_file():
            write_scan(scan, image)
        write_labels(numbered, truth)

    def _write_records(self, records: Iterable[CaseRecord]) -> None:
        ordered = tuple(sorted(records, key=lambda record: record.name))
        _write_text(self.path / SIDECAR, encode(CaseList(cases=ordered)).decode())


def write_dataset(folder: str | Path, cases: Mapping[str, tuple[Scan, LabelMap]]) -> Path:
    """Write scans and label maps in memory as a dataset that can be trained on.

    Parameters
    ----------
    folder : str or Path
        Made; it may be there when it is empty.
    cases : mapping of str to (Scan, LabelMap)
        By name. Structures of one name have one value, that of the first case.

    Returns
    -------
    Path
        Of the folder, with ``images/`` and ``labels/`` as NIfTI, ``labels.json`` and
        ``dataset.json``.

    Raises
    ------
    InputError
        When the folder holds something, there are no cases, two cases are one scan, or a scan holds
        NaN or is of another kind than the first.
    GeometryError
        When labels and scan lie on different grids.
    WriteError
        When a file cannot be written.
    """
    folder = Path(folder)
    if not cases:
        raise InputError("a dataset needs cases; give a scan and a label map for each name")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"'{folder}' exists and is not empty; choose another folder")
    for name, (scan, labels) in cases.items():
        scan.check_finite()
        record = CaseFolder(folder).add(scan, labels, status="reviewed", name=name)
        if record.name != name:
            raise InputError(
                f"the cases '{record.name}' and '{name}' have the same scan; leave one out",
                code="SAME_SCAN",
            )
    return folder


def scan_digest(scan: Scan) -> str:
    """SHA-256 of what makes a scan the same scan: its DICOM identifiers, else grid and voxels."""
    digest = hashlib.sha256()
    source = scan.provenance
    if source.series_uid:
        digest.update("\n".join((source.series_uid, *source.instance_uids)).encode())
        return digest.hexdigest()
    digest.update(np.array([*scan.voxels.shape, *scan.grid.affine.ravel()], np.float64).tobytes())
    for channel in scan.voxels:
        digest.update(np.ascontiguousarray(channel).data)
    return digest.hexdigest()


def numbered_as(labels: LabelMap, table: LabelTable) -> LabelMap:
    """A map whose structures have the values that `table` gives their names.

    Parameters
    ----------
    labels : LabelMap
    table : LabelTable
        Names, whatever their capitals, and values to go by.

    Returns
    -------
    LabelMap
        Its table is `table`, and after it the structures that only `labels` has and holds.
    """
    rows = {label.value: label for label in table}
    by_name = {label.name.casefold(): label.value for label in table}
    present = set(np.unique(labels.values).tolist())
    lookup = np.zeros(max(labels.table.values, default=0) + 1, np.uint16)
    for label in labels.table:
        value = by_name.get(label.name.casefold())
        if value is None and table.labels and label.value not in present:
            continue
        if value is None:
            value = label.value if label.value not in rows else max(rows) + 1
            rows[value] = msgspec.structs.replace(label, value=value)
        lookup[label.value] = value
    values = lookup[np.asarray(labels.values)]
    small = values.astype(np.uint8) if max(rows, default=0) < 256 else values
    return replace(labels, values=small, table=LabelTable(tuple(rows[v] for v in sorted(rows))))


def names_from(root: Path, status: Status) -> set[str] | None:
    """Names of the cases that were checked at least as far as `status`.

    Parameters
    ----------
    root : Path
    status : {"raw", "draft", "reviewed"}

    Returns
    -------
    set of str or None
        None when the folder keeps no list: then every case counts.
    """
    if not (root / SIDECAR).is_file():
        return None
    least = STATUSES.index(status)
    records = CaseFolder(root).records()
    return {record.name for record in records if STATUSES.index(record.status) >= least}


def _make(path: Path) -> None:
    from medseg.errors import WriteError

    try:
        for part in ("images", "labels"):
            (path / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot make a dataset in '{path}': {error.strerror}") from error


def _write_text(path: Path, text: str) -> None:
    with atomic(path, suffix=".json") as temporary:
        temporary.write_text(text, encoding="utf-8")
