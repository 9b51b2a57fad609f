"""Where results of scans go, by names that people know: those of the archive, mirrored.

Of a scan that is one file it is the file's own name. Of a DICOM series it is the source's folder,
and in it the series by number and modality: what headers say of the patient is in no name.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from medseg.reading.file_names import without_suffix
from medseg_pipelines.batch.archive.case_keys import digest
from medseg_pipelines.batch.messages import ScanRecord
from medseg_pipelines.batch.result_files import BESIDE, FILES, own_name

_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_OF_BATCH = ("summary.csv", "summary.parquet", "report.html", ".medseg")
_LONGEST = 160  # bytes of a name, so that endings fit a file system's 255
_SECOND_MAP = own_name(FILES["probabilities"], "").removesuffix(own_name(FILES["nifti"], ""))


def mirrored(scans: Sequence[ScanRecord], root: Path, given: Mapping[str, str]) -> list[ScanRecord]:
    """Scans with the places of their results in the order and under the names of the archive.

    Parameters
    ----------
    scans : sequence of ScanRecord
        All of the archive, those of other shares too: names must not depend on the share.
    root : Path
        The archive.
    given : mapping of str to str
        Places that scans have from earlier runs, by lineage; they keep them.

    Returns
    -------
    list of ScanRecord
        No two scans share a place, nor do their files where upper and lower case are the same. Of
        several files that only their formats tell apart, such as ``a.nii`` and ``a.nii.gz``, each
        keeps its format in its name.
    """
    folders, taken = dict(given), set(map(_key, given.values()))
    home = root.resolve() if root.is_dir() else root.resolve().parent
    new = {scan.lineage: scan for scan in reversed(scans) if scan.lineage not in folders}
    wanted = {lineage: list(_wanted(scan, home)) for lineage, scan in reversed(new.items())}
    count = Counter(_key(names[0]) for names in wanted.values())
    for lineage, (first, *others) in wanted.items():
        is_shared = count[_key(first)] > 1 and len(others) > 0
        free = _numbered([*[first] * (not is_shared), *others])
        folders[lineage] = next(folder for folder in free if _key(folder) not in taken)
        taken.add(_key(folders[lineage]))
    return [replace(scan, folder=folders[scan.lineage]) for scan in scans]


def _wanted(scan: ScanRecord, home: Path) -> Iterator[str]:
    """Places that fit a scan, the best first."""
    path = Path(os.path.relpath(scan.path, home))
    stem = _safe(without_suffix(path))
    above = [_safe(without_suffix(Path(part))) for part in path.parent.parts if part != os.pardir]
    if scan.facts.get("format") == "dicom":
        names = ["/".join(filter(None, [stem, _series(scan)]))]
    elif scan.case:
        names = [_safe(scan.case) + BESIDE]
    else:
        names = [stem + BESIDE, _safe(path.name) + BESIDE]
    for name in names:
        yield "/".join([*above, name])


def _series(scan: ScanRecord) -> str:
    """What the results of a DICOM series are called in the folder of its files."""
    number, modality = (scan.facts.get(name) for name in ("SeriesNumber", "Modality"))
    parts = ("series", "" if number is None else f"{number:g}", str(modality or ""))
    return _safe("-".join(filter(None, parts)))


def _safe(name: str) -> str:
    """A name for a file on any system; a long one is cut, and told apart by a digest."""
    safe = _UNSAFE.sub("_", name)
    if safe.lower() in _OF_BATCH:
        safe += "_"
    encoded = safe.encode()
    if len(encoded) <= _LONGEST:
        return safe
    return f"{encoded[:_LONGEST].decode(errors='ignore')}-{digest(name)[:8]}"


def _numbered(folders: Sequence[str]) -> Iterator[str]:
    """The folders, then the last of them with numbers."""
    yield from folders
    end = BESIDE if folders[-1].endswith(BESIDE) else ""
    for number in itertools.count(2):
        yield f"{folders[-1].removesuffix(end)}-{number}{end}"


def _key(folder: str) -> str:
    """The same for results whose files might have one name."""
    stem = folder.removesuffix(BESIDE)
    return (folder if stem == folder else stem.removesuffix(_SECOND_MAP) + BESIDE).casefold()
