"""The list of scans of an archive, from all that its index knows.

A series of which a slice is passed over may still look whole. So a file that cannot be read is a
fault of the series beside it; where several series lie beside it, it is listed, and each is read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from medseg.reading.dicom.folder import UNCERTAIN, name_pattern
from medseg.reading.dicom.headers import EMPTY
from medseg_pipelines.batch.archive.case_keys import digest, file_folder, path_key, scan_folder
from medseg_pipelines.batch.archive.headers import is_blank, is_damaged, is_dicom
from medseg_pipelines.batch.archive.index import Index, Part, Unit
from medseg_pipelines.batch.archive.walk import Tree, joined
from medseg_pipelines.batch.messages import Fault, ScanRecord

Candidate = tuple[str, Part]
"""A unit, and a scan in it."""

_SEVERAL = ""
_GAPS = ("IRREGULAR", "MISSING_SLICE")  # what a slice that cannot be read leaves behind
_PASSED_OVER = "an empty file beside it is passed over, since its slices are whole"
_NO_UID = Fault(
    code="BLANK_UID",
    message="some may have no SeriesInstanceUID: files of its size beside it have none; export the"
    " series again",
)
_CLOSED = Fault(
    code="UNREADABLE",
    message="a folder cannot be opened; check its permissions and the disk",
)


def scans_of(
    index: Index, tree: Tree, units: dict[str, Unit], *, questions: Sequence[str], pictures: bool
) -> list[ScanRecord]:
    """Every scan that an index knows, and every fault of the tree, sorted by path and series.

    Each set of instances is listed once, however often it is there.
    """
    owners = _owners(units, tree)
    same: dict[str, list[Candidate]] = defaultdict(list)
    for unit, part in _judged(units, tree, index):
        if pictures or not part.is_picture:
            same[part.scan.key].append((unit, part))
    unique = [_best(candidates) for candidates in same.values()]
    studies = _first_studies([part for _, part in unique], index)
    scans = [_of_fault(tree, path, fault) for path, fault in tree.faults.items()]
    for unit, part in unique:
        scan, path = part.scan, os.fsencode(part.scan.path)
        names: tuple[str, ...] = ()
        if is_dicom(unit) and not (owners[path] == unit and scan.series):
            skipped = len(path) + bool(path)
            rows = index.checked_files_of(unit)
            names = tuple(os.fsdecode(joined(row[0], row[1])[skipped:]) for row in rows)
        scans.append(
            replace(
                scan,
                folder=_folder(part, studies),
                names=names,
                path=str(tree.path(path)),
                answers={text: scan.answers[text] for text in questions if text in scan.answers},
            )
        )
    return sorted(scans, key=lambda scan: (scan.path, scan.series))


def _owners(units: dict[str, Unit], tree: Tree) -> dict[bytes, str]:
    """For each folder the only unit of which files lie at any depth in it, or `_SEVERAL`."""
    owners: dict[bytes, str] = {}
    lying = [
        (os.fsencode(folder), unit)
        for unit, content in units.items()
        if is_dicom(unit) or is_damaged(unit)
        for folder in content.folders
    ]
    for folder, unit in [*lying, *((mixed, _SEVERAL) for mixed in tree.mixed)]:
        while True:
            owner = owners.setdefault(folder, unit)
            if owner != unit:
                owners[folder] = _SEVERAL
            if not folder or (owner == _SEVERAL and unit != _SEVERAL):
                break
            folder = folder.rpartition(b"/")[0]  # noqa: PLW2901 - and in those around it
    return owners


def _best(same: Sequence[Candidate]) -> Candidate:
    """One of all that have the same instances, rather of files than a zip, and a note."""
    unit, part = min(
        same, key=lambda candidate: (not is_dicom(candidate[0]), candidate[1].scan.path)
    )
    if len(same) == 1:
        return unit, part
    note = f"its instances are in the archive {len(same)} times; they are read from one place"
    return unit, replace(part, scan=replace(part.scan, notes=(*part.scan.notes, note)))


def _first_studies(parts: Sequence[Part], index: Index) -> dict[str, str]:
    """For each patient the study after which all folders of the patient are called."""
    studies = index.first_studies()
    new: dict[str, str] = {}
    for part in parts:
        if part.patient and part.patient not in studies:
            study = part.study or part.scan.lineage
            new[part.patient] = min(study, new.get(part.patient, study))
    if not new:
        return studies
    studies = index.first_studies(new.items())
    index.commit()
    return studies


def _folder(part: Part, studies: dict[str, str]) -> str:
    """Where the results of a scan go."""
    path, lineage = os.fsencode(part.scan.path), part.scan.lineage
    if lineage == path_key(path):
        return file_folder(path)
    study = part.study or lineage
    return scan_folder(studies.get(part.patient, study), study, lineage)


def _of_fault(tree: Tree, path: bytes, fault: Fault) -> ScanRecord:
    """What the walk could not enter; bytes that are no UTF-8 are shown as such."""
    key = path_key(b"fault\0" + path)
    return ScanRecord(
        key=key,
        lineage=key,
        path=joined(tree.root, path).decode(errors="backslashreplace"),
        folder=file_folder(b"fault\0" + path),
        signature=digest("fault", fault.code, fault.message),
        files=0,
        fault=fault,
    )


def _judged(units: dict[str, Unit], tree: Tree, index: Index) -> Iterator[Candidate]:
    """Every scan, with what unreadable files mean for those beside them."""
    notes: dict[str, str] = {}
    listed: set[str] = set()  # damaged files that are listed as a series' fault, or foreign
    beside = _by_folder(units)
    faults = _faults_of_folders(units, beside, tree)
    for folder, fault, state, unit in _suspects(units, tree):
        neighbours = beside.get(folder, [])
        if fault.code == EMPTY and beside:
            notes |= dict.fromkeys(neighbours, _PASSED_OVER)
            name = Path(units[unit].parts[0].scan.path).name
            neighbours = [other for other in neighbours if _is_called_alike(name, other, index)]
            listed |= set() if neighbours else {unit}
        if len(neighbours) == 1:
            faults[neighbours[0]].append((fault, state))
            listed.add(unit)
        else:
            notes |= dict.fromkeys(neighbours, UNCERTAIN)
    for unit, content in units.items():
        for part in content.parts if unit not in listed else ():
            yield (
                unit,
                replace(part, scan=_with_note(part.scan, faults.get(unit, ()), notes.get(unit))),
            )


def _faults_of_folders(
    units: dict[str, Unit], beside: dict[str, list[str]], tree: Tree
) -> dict[str, list[tuple[Fault, str]]]:
    """For each unit the faults that come from its folders, each with what it is told by."""
    faults: dict[str, list[tuple[Fault, str]]] = defaultdict(list)
    for folder, neighbours in beside.items():
        for unit in neighbours if tree.is_closed(os.fsencode(folder)) else ():
            faults[unit].append((_CLOSED, _CLOSED.code))
    for unit in _halves(units, beside):
        faults[unit].append((_NO_UID, _NO_UID.code))
    return faults


def _by_folder(units: dict[str, Unit]) -> dict[str, list[str]]:
    """The series of which files lie in each folder."""
    folders: dict[str, list[str]] = defaultdict(list)
    for unit, content in units.items():
        for folder in content.folders if is_dicom(unit) else ():
            folders[folder].append(unit)
    return folders


def _halves(units: dict[str, Unit], beside: dict[str, list[str]]) -> set[str]:
    """A series and what lies beside it without a SeriesInstanceUID, where both may be one."""
    halves: set[str] = set()
    for neighbours in beside.values():
        blank = [unit for unit in neighbours if is_blank(unit)]
        named = [unit for unit in neighbours if not is_blank(unit)]
        if blank and len(named) == 1 and _planes(units[blank[0]]) & _planes(units[named[0]]):
            halves |= {blank[0], named[0]}
    return halves


def _planes(content: Unit) -> set[str]:
    """Size, spacing and direction of the slices of a unit."""
    keys = ("Rows", "Columns", "PixelSpacing", "orientation")
    return {
        repr([part.scan.facts.get(key) for key in keys])
        for part in content.parts
        if not part.is_picture
    }


def _with_note(
    scan: ScanRecord, faults: Sequence[tuple[Fault, str]], note: str | None
) -> ScanRecord:
    """A scan with faults of files beside it, or the note on them."""
    scan = _with_faults(scan, faults)
    return replace(scan, notes=(*scan.notes, note)) if note and not scan.fault else scan


def _is_called_alike(name: str, unit: str, index: Index) -> bool:
    """Whether a file is called as the slices of a series are."""
    names = {name_pattern(os.fsdecode(row[1])) for row in index.files_of(unit)}
    return name_pattern(name) in names


def _with_faults(scan: ScanRecord, faults: Sequence[tuple[Fault, str]]) -> ScanRecord:
    """A scan with faults of files beside it; its own comes first, unless they explain it."""
    if not faults:
        return scan
    first, _ = faults[0]
    fault = Fault(code=first.code, message=f"among its slices, {first.message}")
    own = scan.fault if scan.fault and scan.fault.code not in _GAPS else None
    signature = digest("with", scan.signature, *sorted(state for _, state in faults))
    return replace(scan, signature=signature, fault=own or fault)


def _suspects(units: dict[str, Unit], tree: Tree) -> Iterator[tuple[str, Fault, str, str]]:
    """Folder, fault, state and unit of each file that may be a slice."""
    for unit, content in units.items():
        scan = content.parts[0].scan if is_damaged(unit) else None
        if scan and scan.fault:
            yield content.folders[0], scan.fault, scan.signature, unit
    for path in sorted(tree.suspects):
        fault = tree.faults[path]
        folder = os.fsdecode(path.rpartition(b"/")[0])
        yield folder, fault, digest("suspect", path, fault.code), ""
