"""The spool: what was received, on disk before it is acknowledged, under names that are digests.

``series/<digest>/<digest>.dcm`` is a series as the batch reads it, ``results/<digest>/`` what it
made of it, ``apart/`` what contradicts an object that is here, ``dead/`` one small file for each
thing that was given up, ``incoming/`` what is not whole yet. The files are the truth; the register
beside them is made to agree with them whenever the spool is opened.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout

from medseg.errors import InputError, WriteError
from medseg_pipelines.pacs.database import Register
from medseg_pipelines.pacs.settings import Limits
from medseg_pipelines.pacs.validate import ReceivedObject, RefusedError, content_of, examine, flush

_IN_USE = ".in-use"
Taken = Literal["new", "known", "edited", "apart"]


class NoRoomError(WriteError):
    """What came in would go beyond a limit."""

    default_code = "NO_ROOM"


class Spool:
    """Folder of received series with its register.

    Parameters
    ----------
    root : Path
        Made when missing, for its owner alone.
    limits : Limits

    Attributes
    ----------
    register : Register
        Its state.
    incoming : Path
        Folder of this process for what is not whole yet.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self.incoming = root / "incoming" / uuid.uuid4().hex
        try:
            for folder in (*map(root.joinpath, ("", "series", "apart", "dead")), self.incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(
                f"the spool '{root}' cannot be made: {error.strerror or error}; choose another"
                " folder in the settings"
            ) from error
        self._in_use = FileLock(self.incoming / _IN_USE)
        self._in_use.acquire()
        self.register = Register(root / "spool.sqlite")

    def close(self) -> None:
        """Close the register, and remove what is not whole."""
        self.register.close()
        self._in_use.release()
        shutil.rmtree(self.incoming, ignore_errors=True)

    def folder(self, series: str) -> Path:
        """Where the objects of a series lie."""
        return self.root / "series" / series

    def results(self, series: str) -> Path:
        """Where the results of a series go."""
        return self.root / "results" / series

    def scratch(self) -> Path:
        """A path for something that is not whole yet."""
        return self.incoming / f"{uuid.uuid4().hex}.part"

    def holds(self, piece_series: str, instance: str) -> bool:
        """Whether an object is here, with the bytes it came with."""
        known = self.register.known(piece_series, instance)
        path = self.folder(piece_series) / f"{instance}.dcm"
        return known is not None and content_of(path) == known[0]

    def check_room(self, size: int, series: str = "") -> None:
        """Raise unless `size` more bytes are within the limits.

        Raises
        ------
        NoRoomError
            When the object, its series or the disk would be too full.
        """
        limits = self.limits
        if size > limits.object_bytes:
            raise NoRoomError(f"an object of {size >> 20} MiB is above {limits.object_mib} MiB")
        free = shutil.disk_usage(self.incoming).free
        if free < limits.disk_floor_bytes:
            raise NoRoomError(
                f"the disk of the spool has only {free >> 20} MiB left", code="DISK_FULL"
            )
        if series:
            objects, held = self.register.size(series)
            if objects >= limits.series_objects or held + size > limits.series_bytes:
                raise NoRoomError(f"the series has {objects} objects, {held >> 20} MiB: its limit")

    def take(self, path: Path, *, announced: str, series: str = "") -> tuple[Taken, ReceivedObject]:
        """Keep what lies at `path`, in `incoming`; it is on the disk when this returns.

        Parameters
        ----------
        path : Path
            A whole DICOM file; it is moved, or removed when it is known already.
        announced : str
            The SOPInstanceUID that the sender said it has.
        series : str, optional
            Of which series it has to be.

        Returns
        -------
        tuple
            ``"new"``; ``"known"`` for the same object again; ``"edited"`` for one of other bytes
            with the same picture, of which the first is kept; ``"apart"`` for another picture
            under a known UID, kept beside the series. And what it is.

        Raises
        ------
        RefusedError
            When it is no object that may be kept.
        NoRoomError
            When it would go beyond a limit.
        """
        try:
            piece = examine(path)
            if piece.sop_uid != announced or series not in ("", piece.series):
                raise RefusedError("the object is another than the one announced", code="NAME")
            known = self.register.known(piece.series, piece.instance)
            self.check_room(piece.bytes, "" if known else piece.series)
            return self._keep(path, piece), piece
        except OSError as error:
            raise WriteError(
                f"the spool cannot be written: {error.strerror or error}; free some space"
            ) from error
        finally:
            path.unlink(missing_ok=True)

    def _keep(self, path: Path, piece: ReceivedObject) -> Taken:
        flush(path)
        place = self.folder(piece.series) / f"{piece.instance}.dcm"
        place.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            os.link(path, place)  # unlike a rename it never replaces what is there
        except FileExistsError:
            return self._compare(path, place, piece)
        flush(place.parent)
        self._enter(piece)
        return "new"

    def _compare(self, path: Path, place: Path, piece: ReceivedObject) -> Taken:
        """What an object is whose UID is here already."""
        here = self.register.known(piece.series, piece.instance) or self._adopt(place)
        if here is None or piece.content == here[0]:
            if content_of(place) != piece.content:  # spoilt, or just removed: mended
                path.replace(place)
                flush(place.parent)
                self._enter(piece)
            self.register.touch(piece.series)
            return "known"
        if piece.picture == here[1]:
            self.register.touch(piece.series)
            return "edited"
        beside = self.root / "apart" / piece.series / f"{piece.instance}-{piece.content[:16]}.dcm"
        beside.parent.mkdir(mode=0o700, exist_ok=True)
        path.replace(beside)
        flush(beside.parent)
        with self.register.changing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO apart VALUES (?, ?, ?, ?)",
                (piece.series, piece.instance, piece.content, time.time()),
            )
        return "apart"

    def _enter(self, piece: ReceivedObject) -> None:
        """Note a new object; its series waits for silence again."""
        now = time.time()
        with self.register.changing() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?)",
                (piece.series, piece.instance, piece.content, piece.picture, piece.bytes),
            )
            if added.rowcount:
                connection.execute(
                    "INSERT INTO series (series, first_at, last_at, generation)"
                    " VALUES (?, ?, ?, 1) ON CONFLICT (series) DO UPDATE SET state = 'receiving',"
                    " last_at = excluded.last_at, generation = generation + 1, expected = NULL,"
                    " attempts = 0, next_at = 0, code = '', message = ''",
                    (piece.series, now, now),
                )

    def recover(self) -> int:
        """Make the register agree with the files, as after a crash; remove what is half there.

        Returns
        -------
        int
            How many objects were found that the register did not know.
        """
        self._clear()
        found = 0
        noted = {
            (row["series"], row["instance"])
            for row in self.register.rows("SELECT series, instance FROM objects")
        }
        here = set()
        for path in sorted((self.root / "series").glob("*/*.dcm")):
            name = (path.parent.name, path.stem)
            if name in noted or self._adopt(path) is not None:
                here.add(name)
            found += name in here and name not in noted
        with self.register.changing() as connection:
            connection.executemany(
                "DELETE FROM objects WHERE series = ? AND instance = ?", sorted(noted - here)
            )
        return found

    def _clear(self) -> None:
        """Remove what processes that are gone left half there."""
        for folder in self.incoming.parent.iterdir():
            if folder == self.incoming:
                continue
            try:
                with FileLock(folder / _IN_USE, timeout=0):
                    pass
            except (Timeout, OSError):
                continue
            shutil.rmtree(folder, ignore_errors=True)

    def _adopt(self, path: Path) -> tuple[str, str] | None:
        """Note an object whose file is here; a file that is not what its name says is removed."""
        try:
            piece = examine(path)
        except (RefusedError, OSError):
            piece = None
        if piece is None or (piece.series, piece.instance) != (path.parent.name, path.stem):
            path.unlink(missing_ok=True)
            return None
        self._enter(piece)
        return piece.content, piece.picture

    def any_file(self, series: str) -> Path | None:
        """A file of a series; None when it has none."""
        return next(iter(sorted(self.folder(series).glob("*.dcm"))), None)

    def dead_letter(self, name: str, *, what: str, code: str, message: str) -> None:
        """Leave a small file that tells what was given up, and why."""
        text = msgspec.json.encode({"what": what, "name": name, "code": code, "message": message})
        scratch = self.scratch()
        scratch.write_bytes(msgspec.json.format(text, indent=2) + b"\n")
        scratch.replace(self.root / "dead" / f"{name}.json")

    def requeue(self, name: str) -> None:
        """Remove the file of something that is tried again."""
        (self.root / "dead" / f"{name}.json").unlink(missing_ok=True)

    @property
    def is_served(self) -> bool:
        """Whether a process listens for the spool."""
        try:
            self.alone().release()
        except InputError:
            return True
        return False

    def alone(self) -> FileLock:
        """A lock that one process holds while it works on the spool.

        Raises
        ------
        InputError
            When another process has it.
        """
        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"another 'medseg pacs' works on the spool '{self.root}'; stop it, or give this"
                " one a spool of its own in its settings",
                code="BUSY_SPOOL",
            ) from error
        return lock
