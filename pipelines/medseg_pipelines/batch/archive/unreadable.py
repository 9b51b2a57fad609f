"""Files that cannot be read and may be slices: the scans that they make doubtful.

A series of which a slice is passed over may still look whole. So a file that cannot be read is a
fault of the series beside it; where several series lie beside it, it is told of, and each is read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from medseg_pipelines.batch.archive.case_keys import digest
from medseg_pipelines.batch.archive.headers import is_damaged, is_dicom
from medseg_pipelines.batch.archive.index import Part, Unit
from medseg_pipelines.batch.archive.walk import Tree
from medseg_pipelines.batch.messages import Fault

_GAPS = ("IRREGULAR", "MISSING_SLICE")  # what a slice that cannot be read leaves behind
_DOUBT = "a file in its folder cannot be read; it may be one of its slices or of another series"


@dataclass
class Blame:
    """What unreadable files mean for scans.

    Parameters
    ----------
    guilty : dict of str to list of (Fault, str)
        For each unit the faults that files beside it bring, and what those files' states are.
    doubtful : set of str
        Units that lie beside a file that may belong to one of them.
    named : set of str
        Units of damaged files that are told of as a fault of a series.
    """

    guilty: dict[str, list[tuple[Fault, str]]] = field(default_factory=lambda: defaultdict(list))
    doubtful: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)

    def on(self, unit: str, part: Part) -> Part:
        """The part with what is to be said against it."""
        found = part.found
        if unit in self.doubtful:
            found = replace(found, notes=(*found.notes, _DOUBT))
        if unit in self.guilty:
            first, _ = self.guilty[unit][0]
            states = sorted(state for _, state in self.guilty[unit])
            fault = Fault(code=first.code, message=f"among its slices, {first.message}")
            signature = digest("with", found.signature, *states)
            own = found.fault if found.fault and found.fault.code not in _GAPS else None
            found = replace(found, signature=signature, fault=own or fault)
        return replace(part, found=found)


def suspicion(units: dict[str, Unit], tree: Tree) -> Blame:
    """Find out what unreadable files mean for the scans beside them.

    Parameters
    ----------
    units : dict of str to Unit
    tree : Tree
        With what the walk could not read.
    """
    found = Blame()
    suspects = list(_suspects(units, tree))
    if not suspects and not tree.closed:
        return found
    beside: dict[str, list[str]] = defaultdict(list)
    for unit, content in units.items():
        for folder in content.folders if is_dicom(unit) else ():
            beside[folder].append(unit)
            if tree.is_closed(os.fsencode(folder)):
                found.guilty[unit].append((_CLOSED, _CLOSED.code))
    for folder, fault, state, unit in suspects:
        series = beside.get(folder, [])
        if len(series) == 1:
            found.guilty[series[0]].append((fault, state))
            found.named.add(unit)
        else:
            found.doubtful.update(series)
    return found


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


_CLOSED = Fault(
    code="UNREADABLE",
    message="a folder cannot be opened; check its permissions and the disk",
)
