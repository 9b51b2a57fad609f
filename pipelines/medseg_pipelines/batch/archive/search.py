"""Every scan of an archive, known by its headers; an archive that did not change is not read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from medseg.errors import ReadError
from medseg.reading import Policies, read_scan
from medseg.reading.channels import read_channels
from medseg.reading.dicom.series import read_files
from medseg.runtime.progress import Progress, silent
from medseg.volume import Scan
from medseg_pipelines.batch.archive import index as archive_index
from medseg_pipelines.batch.archive.index import DamagedIndex
from medseg_pipelines.batch.archive.listing import scans_of
from medseg_pipelines.batch.archive.rules import Rules
from medseg_pipelines.batch.archive.update import bring_up_to_date, units_with_answers
from medseg_pipelines.batch.archive.walk import OUTPUT_MARK, walk
from medseg_pipelines.batch.messages import ScanRecord

_WAIT_S = 0.5
_NOT_DAMAGE = {"SQLITE_BUSY", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_LOCKED"}


def search(
    root: Path,
    index: Path | None,
    *,
    pictures: bool = False,
    rules: Rules | None = None,
    progress: Progress = silent,
) -> list[ScanRecord]:
    """Find every scan below a folder, sorted by path, then by series; faulty ones too.

    Headers are read once and remembered in the index by path, size and time of change of each
    file, so that an archive that did not change costs a look at its folders. A file that came,
    changed or went has the headers of its series read, and no others. An index that is damaged,
    or of another folder, is made anew; where it cannot be written, the search goes without.

    Parameters
    ----------
    root : Path
        A folder with DICOM in any layout, NIfTI, NRRD, MetaImage and GIPL files and zip archives
        of DICOM, at any depth; or one file.
    index : Path or None
        An SQLite file in a folder that is there; made when missing. None remembers nothing.
    pictures : bool, default False
        Whether PNG, JPEG and TIFF files, and DICOM images without a position, are scans too.
    rules : Rules, optional
        Questions about free text are answered while the headers are at hand
        (`ScanRecord.answers`), for the text is not kept. All scans are returned.
    progress : Progress, optional
        Raising `medseg.errors.Cancelled` in it stops the search, and what was read is remembered.

    Raises
    ------
    ReadError
        When there is nothing at `root`, or it holds results of a batch itself.
    """
    _check(root, index)
    tree, wanted = walk(root, progress=progress), rules or Rules()

    def search_with(path: Path | None) -> list[ScanRecord]:
        with archive_index.opened(path) as opened:
            opened.claim(tree.root)
            bring_up_to_date(opened, tree, wanted, progress)
            units = units_with_answers(opened, tree, wanted, progress)
            return scans_of(opened, tree, units, questions=wanted.questions, pictures=pictures)

    with _alone(index, progress):
        try:
            return search_with(index)
        except sqlite3.Error as error:
            is_damaged = getattr(error, "sqlite_errorname", "") not in _NOT_DAMAGE
        except (DamagedIndex, msgspec.DecodeError):
            is_damaged = True
        if index is not None and is_damaged:
            with suppress(OSError, sqlite3.Error):
                archive_index.remove(index)
                return search_with(index)
        return search_with(None)


def read_archived_scan(
    record: ScanRecord, *, policies: Policies | None = None, progress: Progress = silent
) -> Scan:
    """Read a scan that a search found, on a machine that sees the archive at the same place."""
    policies, series = policies or Policies(), record.series or None
    if record.channels:
        paths = [Path(record.path).with_name(name) for name in record.channels]
        return read_channels(paths, policies=policies, progress=progress)
    if record.names:
        paths = [Path(record.path, name) for name in record.names]
        return read_files(paths, series=series, policies=policies, progress=progress)
    return read_scan(record.path, series=series, policies=policies, progress=progress)


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
    lock = FileLock(f"{index}.lock") if index is not None else None
    try:
        while lock is not None and not lock.is_locked:
            try:
                lock.acquire(timeout=_WAIT_S)
            except Timeout:
                progress(0, 1, "waiting for another search")
    except (OSError, NotImplementedError):  # nothing can be locked there; SQLite sees to it
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
