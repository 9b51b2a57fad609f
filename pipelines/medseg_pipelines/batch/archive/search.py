"""Every scan of an archive, known by its headers; an archive that did not change is not read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from medseg.errors import ReadError
from medseg.reading import Policies, read_scan
from medseg.reading.dicom.series import read_files
from medseg.runtime.progress import Progress, silent
from medseg.volume import Scan
from medseg_pipelines.batch.archive import index as archive_index
from medseg_pipelines.batch.archive.index import DamagedIndex
from medseg_pipelines.batch.archive.listing import composed
from medseg_pipelines.batch.archive.rules import Rules
from medseg_pipelines.batch.archive.update import bring_up_to_date, units_with_answers
from medseg_pipelines.batch.archive.walk import OUTPUT_MARK, Tree, walk
from medseg_pipelines.batch.messages import ScanRecord

_OTHERS_S = 0.5
_NOT_DAMAGE = {"SQLITE_BUSY", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_LOCKED"}


def search(
    root: Path,
    index: Path | None,
    *,
    pictures: bool = False,
    rules: Rules | None = None,
    progress: Progress = silent,
) -> list[ScanRecord]:
    """Find every scan below a folder.

    Headers are read once and remembered in the index by path, size and time of change of each
    file, so that an archive that did not change costs a look at its folders. A file that came,
    changed or went has the headers of its series read, and no others. An index that is damaged,
    or of another folder, is made anew; where it cannot be written, the search goes without.

    Parameters
    ----------
    root : Path
        A folder with DICOM in any layout, NIfTI, NRRD, MetaImage and GIPL files and zip archives
        of DICOM, at any depth; or one file. Hidden files, links that lead out of it (listed with
        a fault) and outputs of a batch are passed over.
    index : Path or None
        An SQLite file in a folder that is there; made when missing. None remembers nothing.
    pictures : bool, default False
        Whether PNG, JPEG and TIFF files, and DICOM images without a place, are scans too.
    rules : Rules or None
        Which scans will be selected: questions about free text are answered while the headers are
        at hand (`ScanRecord.answers`), for the text is not kept. All scans are returned.
    progress : Progress, optional
        Called as folders and headers are gone through; raising `medseg.errors.Cancelled` in it
        stops the search, and what was read so far is remembered.

    Returns
    -------
    list of ScanRecord
        Sorted by path, then by series. What cannot be read is listed with its fault.

    Raises
    ------
    ReadError
        When there is nothing at `root`, or it holds results of a batch itself.
    """
    _check(root, index)
    tree = walk(root, progress=progress)
    with _alone(index, progress):
        return _searched(_Search(tree, rules or Rules(), pictures, progress), index)


def read_found(
    found: ScanRecord, *, policies: Policies | None = None, progress: Progress = silent
) -> Scan:
    """Read a scan that a search found.

    Parameters
    ----------
    found : ScanRecord
        Of a search on this machine, or one that sees the archive at the same place.
    policies : Policies, optional
    progress : Progress, optional

    Raises
    ------
    InputError
        When it cannot be read.
    """
    rules = policies or Policies()
    if found.names:
        paths = [Path(found.path, name) for name in found.names]
        return read_files(paths, series=found.series or None, policies=rules, progress=progress)
    return read_scan(found.path, series=found.series or None, policies=rules, progress=progress)


@dataclass(frozen=True)
class _Search:
    """What is searched for."""

    tree: Tree
    rules: Rules
    pictures: bool
    progress: Progress

    def run(self, place: Path | None) -> list[ScanRecord]:
        """Search with an index; None is one in memory."""
        with archive_index.opened(place) as index:
            if not index.is_of(self.tree.root):
                raise DamagedIndex("of another folder")
            bring_up_to_date(index, self.tree, self.rules, self.progress)
            units = units_with_answers(index, self.tree, self.rules, self.progress)
            return composed(
                index,
                self.tree,
                units,
                questions=self.rules.questions,
                pictures=self.pictures,
            )


def _searched(search: _Search, place: Path | None) -> list[ScanRecord]:
    """Search with this index; when it is damaged with a new one, when that fails with none."""
    try:
        return search.run(place)
    except sqlite3.Error as error:
        is_damaged = getattr(error, "sqlite_errorname", "") not in _NOT_DAMAGE
    except (DamagedIndex, msgspec.DecodeError):
        is_damaged = True
    if place is not None and is_damaged:
        with suppress(OSError, sqlite3.Error):
            archive_index.removed(place)
            return search.run(place)
    return search.run(None)


def _check(root: Path, index: Path | None) -> None:
    """Raise `ReadError` for an archive that would find its own results in itself."""
    try:
        str(root.resolve()).encode()
    except UnicodeEncodeError as error:
        raise ReadError("the path of the archive is not UTF-8; rename its folders") from error
    mark = root.resolve() / os.fsdecode(OUTPUT_MARK)
    if mark.is_dir() or (index is not None and index.resolve().is_relative_to(mark)):
        raise ReadError(
            f"'{root}' holds results of a batch; give the folder of the scans, and another one"
            " for results",
            code="IS_OUTPUT",
        )


@contextmanager
def _alone(index: Path | None, progress: Progress) -> Iterator[None]:
    """Wait while another search uses the index; it will know all that this one would read."""
    if index is None:
        yield
        return
    lock = FileLock(index.with_name(index.name + ".lock"))
    try:
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_OTHERS_S)
            except Timeout:
                progress(0, 1, "waiting for another search")
    except (OSError, NotImplementedError):  # nothing can be locked there; SQLite sees to it
        yield
        return
    try:
        yield
    finally:
        lock.release()
