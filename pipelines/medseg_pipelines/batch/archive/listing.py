"""The list of scans of an archive, from all that its index knows."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from medseg_pipelines.batch.archive.case_keys import digest, file_folder, path_key, scan_folder
from medseg_pipelines.batch.archive.headers import is_damaged, is_dicom
from medseg_pipelines.batch.archive.index import Index, Part, Unit
from medseg_pipelines.batch.archive.unreadable import suspicion
from medseg_pipelines.batch.archive.walk import Tree, joined
from medseg_pipelines.batch.messages import Fault, ScanRecord

_MANY = ""


@dataclass(frozen=True)
class _Placed:
    """A scan and the unit that holds it."""

    unit: str
    part: Part

    @property
    def found(self) -> ScanRecord:
        """What was found."""
        return self.part.found

    @property
    def rank(self) -> tuple[bool, str]:
        """The smallest is taken of several that are one scan: files rather than an archive."""
        return not is_dicom(self.unit), self.found.path


def composed(
    index: Index, tree: Tree, units: dict[str, Unit], *, questions: Sequence[str], pictures: bool
) -> list[ScanRecord]:
    """Every scan that an index knows, and every fault of the tree.

    Parameters
    ----------
    index : Index
    tree : Tree
    units : dict of str to Unit
        All its units.
    questions : sequence of str
    pictures : bool
        Whether to list pictures too.

    Returns
    -------
    list of ScanRecord
        Sorted by path, then by series; each set of instances once, however often it is there.
    """
    owners = _owners(units, tree)
    suspected = suspicion(units, tree)
    placed = [
        _Placed(unit, suspected.on(unit, part))
        for unit, content in units.items()
        for part in content.parts
        if unit not in suspected.named and (pictures or not part.is_picture)
    ]
    found = [
        _told(_whole(one, index, owners), tree, questions)
        for one in _with_names(_once(placed), index)
    ]
    found += [_of_fault(tree, path, fault) for path, fault in tree.faults.items()]
    return sorted(found, key=lambda one: (one.path, one.series))


def _owners(units: dict[str, Unit], tree: Tree) -> dict[bytes, str]:
    """For each folder the only unit of which files lie at any depth in it, or `_MANY`."""
    owners: dict[bytes, str] = {}
    for unit, content in units.items():
        if is_dicom(unit) or is_damaged(unit):
            for folder in content.folders:
                _own(owners, os.fsencode(folder), unit)
    for mixed in tree.mixed:
        _own(owners, mixed, _MANY)
    return owners


def _own(owners: dict[bytes, str], folder: bytes, unit: str) -> None:
    """Let a unit have files in a folder, so in all the folders around it."""
    while True:
        owner = owners.setdefault(folder, unit)
        if owner != unit:
            owners[folder] = _MANY
        if not folder or (owner == _MANY and unit != _MANY):
            return
        folder = folder.rpartition(b"/")[0]


def _once(placed: Iterable[_Placed]) -> list[_Placed]:
    """One of all that have the same instances, with a note on the others."""
    scans: dict[str, list[_Placed]] = defaultdict(list)
    for one in placed:
        scans[one.found.key].append(one)
    return [_best(same) if len(same) > 1 else same[0] for same in scans.values()]


def _best(same: list[_Placed]) -> _Placed:
    best = min(same, key=lambda one: one.rank)
    note = f"its instances are in the archive {len(same)} times; they are read from one place"
    found = replace(best.found, notes=(*best.found.notes, note))
    return _Placed(best.unit, replace(best.part, found=found))


def _with_names(placed: list[_Placed], index: Index) -> list[_Placed]:
    """Scans with their folders for results."""
    firsts = _first_studies(placed, index)
    return [
        _Placed(one.unit, replace(one.part, found=replace(one.found, folder=_folder(one, firsts))))
        for one in placed
    ]


def _folder(one: _Placed, firsts: dict[str, str]) -> str:
    part, found = one.part, one.found
    if found.lineage == path_key(os.fsencode(found.path)):
        return file_folder(os.fsencode(found.path))
    study = part.study or found.lineage
    return scan_folder(firsts.get(part.patient, study), study, found.lineage)


def _first_studies(placed: list[_Placed], index: Index) -> dict[str, str]:
    """For each patient the study after which all folders of the patient are called."""
    known = index.first_studies()
    fresh: dict[str, str] = {}
    for one in placed:
        patient, study = one.part.patient, one.part.study or one.found.lineage
        if patient and patient not in known:
            fresh[patient] = min(study, fresh.get(patient, study))
    if fresh:
        index.put_first_studies(fresh.items())
        index.keep()
    return known | fresh


def _whole(one: _Placed, index: Index, owners: dict[bytes, str]) -> ScanRecord:
    """The scan with the names of its files, where its folder alone does not say which."""
    found = one.found
    if not is_dicom(one.unit) or (owners[os.fsencode(found.path)] == one.unit and found.series):
        return found
    skipped = len(os.fsencode(found.path)) + bool(found.path)
    names = tuple(
        os.fsdecode(joined(folder, name)[skipped:])
        for folder, name, *_ in index.checked_files_of(one.unit)
    )
    return replace(found, names=names)


def _told(found: ScanRecord, tree: Tree, questions: Sequence[str]) -> ScanRecord:
    """The scan with its absolute path, and answers to these questions only."""
    answers = {one: found.answers[one] for one in questions if one in found.answers}
    return replace(found, path=str(tree.path(os.fsencode(found.path))), answers=answers)


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
