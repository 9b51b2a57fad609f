"""The list of scans of an archive, from all that its index knows.

A series of which a slice is passed over may still look whole. So a file that cannot be read is a
fault of the series beside it; where several series lie beside it, it is told of, and each is read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from medseg_pipelines.batch.archive.case_keys import digest, file_folder, path_key, scan_folder
from medseg_pipelines.batch.archive.headers import is_damaged, is_dicom
from medseg_pipelines.batch.archive.index import Index, Part, Unit
from medseg_pipelines.batch.archive.walk import Tree, joined
from medseg_pipelines.batch.messages import Fault, ScanRecord

_SEVERAL = ""
_GAPS = ("IRREGULAR", "MISSING_SLICE")  # what a slice that cannot be read leaves behind
_DOUBT = "a file in its folder cannot be read; it may be one of its slices or of another series"
_CLOSED = Fault(
    code="UNREADABLE",
    message="a folder cannot be opened; check its permissions and the disk",
)


@dataclass(frozen=True)
class _Candidate:
    """A scan and the unit that holds it."""

    unit: str
    part: Part

    @property
    def found(self) -> ScanRecord:
        return self.part.found

    @property
    def study(self) -> str:
        return self.part.study or self.found.lineage

    @property
    def rank(self) -> tuple[bool, str]:
        """The smallest is taken of several that are one scan: files rather than an archive."""
        return not is_dicom(self.unit), self.found.path


def scans_of(
    index: Index, tree: Tree, units: dict[str, Unit], *, questions: Sequence[str], pictures: bool
) -> list[ScanRecord]:
    """Every scan that an index knows, and every fault of the tree, sorted by path and series.

    Each set of instances is listed once, however often it is there.
    """
    owners, blame = _owners(units, tree), _blame(units, tree)
    candidates = [
        _Candidate(unit, blame.on(unit, part))
        for unit, content in units.items()
        for part in content.parts
        if unit not in blame.reported and (pictures or not part.is_picture)
    ]
    unique = _once(candidates)
    studies = _first_studies(unique, index)
    scans = [_of_fault(tree, path, fault) for path, fault in tree.faults.items()]
    for one in unique:
        answers = {text: one.found.answers[text] for text in questions if text in one.found.answers}
        scans.append(
            replace(
                one.found,
                folder=_folder(one, studies),
                names=_names(one, index, owners),
                path=str(tree.path(os.fsencode(one.found.path))),
                answers=answers,
            )
        )
    return sorted(scans, key=lambda scan: (scan.path, scan.series))


def _owners(units: dict[str, Unit], tree: Tree) -> dict[bytes, str]:
    """For each folder the only unit of which files lie at any depth in it, or `_SEVERAL`."""
    owners: dict[bytes, str] = {}
    for unit, content in units.items():
        if is_dicom(unit) or is_damaged(unit):
            for folder in content.folders:
                _own(owners, os.fsencode(folder), unit)
    for mixed in tree.mixed:
        _own(owners, mixed, _SEVERAL)
    return owners


def _own(owners: dict[bytes, str], folder: bytes, unit: str) -> None:
    """Let a unit have files in a folder, so in all the folders around it."""
    while True:
        owner = owners.setdefault(folder, unit)
        if owner != unit:
            owners[folder] = _SEVERAL
        if not folder or (owner == _SEVERAL and unit != _SEVERAL):
            return
        folder = folder.rpartition(b"/")[0]


def _once(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """One of all that have the same instances, with a note on the others."""
    scans: dict[str, list[_Candidate]] = defaultdict(list)
    for one in candidates:
        scans[one.found.key].append(one)
    return [_best(same) if len(same) > 1 else same[0] for same in scans.values()]


def _best(same: list[_Candidate]) -> _Candidate:
    best = min(same, key=lambda one: one.rank)
    note = f"its instances are in the archive {len(same)} times; they are read from one place"
    found = replace(best.found, notes=(*best.found.notes, note))
    return _Candidate(best.unit, replace(best.part, found=found))


def _first_studies(candidates: list[_Candidate], index: Index) -> dict[str, str]:
    """For each patient the study after which all folders of the patient are called."""
    known = index.first_studies()
    new: dict[str, str] = {}
    for one in candidates:
        patient = one.part.patient
        if patient and patient not in known:
            new[patient] = min(one.study, new.get(patient, one.study))
    if new:
        index.put_first_studies(new.items())
        index.keep()
    return known | new


def _folder(one: _Candidate, studies: dict[str, str]) -> str:
    path = os.fsencode(one.found.path)
    if one.found.lineage == path_key(path):
        return file_folder(path)
    return scan_folder(studies.get(one.part.patient, one.study), one.study, one.found.lineage)


def _names(one: _Candidate, index: Index, owners: dict[bytes, str]) -> tuple[str, ...]:
    """The names of a scan's files, where its folder alone does not say which."""
    path = os.fsencode(one.found.path)
    if not is_dicom(one.unit) or (owners[path] == one.unit and one.found.series):
        return ()
    skipped = len(path) + bool(path)
    return tuple(
        os.fsdecode(joined(folder, name)[skipped:])
        for folder, name, *_ in index.checked_files_of(one.unit)
    )


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


@dataclass
class _Blame:
    """What unreadable files mean for the scans beside them."""

    # By unit, the faults that files beside it bring, and what those files' states are.
    faults: dict[str, list[tuple[Fault, str]]] = field(default_factory=lambda: defaultdict(list))
    doubtful: set[str] = field(default_factory=set)  # beside a file that may be another unit's
    reported: set[str] = field(default_factory=set)  # damaged files told of as a series' fault

    def on(self, unit: str, part: Part) -> Part:
        """The part with what is to be said against it."""
        found = part.found
        if unit in self.doubtful:
            found = replace(found, notes=(*found.notes, _DOUBT))
        if unit in self.faults:
            first, _ = self.faults[unit][0]
            states = sorted(state for _, state in self.faults[unit])
            fault = Fault(code=first.code, message=f"among its slices, {first.message}")
            own = found.fault if found.fault and found.fault.code not in _GAPS else None
            signature = digest("with", found.signature, *states)
            found = replace(found, signature=signature, fault=own or fault)
        return replace(part, found=found)


def _blame(units: dict[str, Unit], tree: Tree) -> _Blame:
    blame = _Blame()
    suspects = list(_suspects(units, tree))
    if not suspects and not tree.closed:
        return blame
    beside: dict[str, list[str]] = defaultdict(list)
    for unit, content in units.items():
        for folder in content.folders if is_dicom(unit) else ():
            beside[folder].append(unit)
            if tree.is_closed(os.fsencode(folder)):
                blame.faults[unit].append((_CLOSED, _CLOSED.code))
    for folder, fault, state, unit in suspects:
        series = beside.get(folder, [])
        if len(series) == 1:
            blame.faults[series[0]].append((fault, state))
            blame.reported.add(unit)
        else:
            blame.doubtful.update(series)
    return blame


def _suspects(units: dict[str, Unit], tree: Tree) -> Iterator[tuple[str, Fault, str, str]]:
    """Folder, fault, state and unit of each file that may be a slice."""
    for unit, content in units.items():
        scan = content.parts[0].found if is_damaged(unit) else None
        if scan and scan.fault:
            yield content.folders[0], scan.fault, scan.signature, unit
    for path in sorted(tree.suspects):
        fault = tree.faults[path]
        folder = os.fsdecode(path.rpartition(b"/")[0])
        yield folder, fault, digest("suspect", path, fault.code), ""
