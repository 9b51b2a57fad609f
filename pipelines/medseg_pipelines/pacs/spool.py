"""The spool: what was received, on disk before it is acknowledged, under names that are digests.

``series/<digest>/<digest>.dcm`` is a series as the batch reads it, ``results/<digest>/`` what it
made of it, ``conflicts/`` what contradicts an object that is here, ``failed/`` one small file for
each thing that was given up, ``incoming/`` what is not whole yet. The files are the truth; the
database beside them is made to agree with them by `Spool.recover`.
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
from medseg.writing import flush_to_disk
from medseg_pipelines.pacs.database import Database, Delivery, SeriesRow
from medseg_pipelines.pacs.errors import NoRoomError, RefusedError
from medseg_pipelines.pacs.settings import Limits
from medseg_pipelines.pacs.validate import ReceivedObject, content_of, examine

_IN_USE = ".in-use"
Kept = Literal["new", "known", "edited", "conflict"]


class Spool:
    """Folder of received series with its state; made when missing, for its owner alone."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self.incoming = root / "incoming" / uuid.uuid4().hex
        folders = map(root.joinpath, ("", "series", "conflicts", "failed"))
        try:
            for folder in (*folders, self.incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(
                f"the spool '{root}' cannot be made: {error.strerror or error}; choose another"
                " folder in the settings"
            ) from error
        self._in_use = FileLock(self.incoming / _IN_USE)
        self._in_use.acquire()
        self.database = Database(root / "spool.sqlite")

    def close(self) -> None:
        """Close the database, and remove what is not whole."""
        self.database.close()
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

    def holds(self, series: str, instance: str) -> bool:
        """Whether an object is here, with the bytes it came with."""
        entry = self.database.digests(series, instance)
        path = self.folder(series) / f"{instance}.dcm"
        return entry is not None and content_of(path) == entry[0]

    def check_room(self, size: int, series: str = "") -> None:
        """Raise `NoRoomError` when an object of `size` bytes is above a limit, or the series is."""
        limits = self.limits
        if size > limits.object_mib << 20:
            raise NoRoomError(f"an object of {size >> 20} MiB is above {limits.object_mib} MiB")
        free = shutil.disk_usage(self.incoming).free
        if free < limits.disk_floor_gib * (1 << 30):
            raise NoRoomError(
                f"the disk of the spool has only {free >> 20} MiB left", code="DISK_FULL"
            )
        for row in self.database.series(name=series) if series else []:
            if row.objects >= limits.series_objects or row.bytes + size > limits.series_mib << 20:
                held = f"{row.objects} objects, {row.bytes >> 20} MiB"
                raise NoRoomError(f"the series has {held}: its limit")

    def add(self, path: Path, *, announced: str, series: str = "") -> tuple[Kept, ReceivedObject]:
        """Keep what lies at `path`, in `incoming`; it is on the disk when this returns.

        `path` is moved or removed. `announced` is the SOPInstanceUID that the sender said it has,
        `series` of which series it has to be. ``"known"`` is the same object again, ``"edited"``
        other bytes with the same picture, of which the first is kept, ``"conflict"`` another
        picture under a known UID, kept beside the series. Raises `RefusedError`, `NoRoomError`.
        """
        try:
            received = examine(path)
            if received.sop_uid != announced or series not in ("", received.series):
                raise RefusedError("the object is another than the one announced", code="NAME")
            is_here = self.database.digests(received.series, received.instance) is not None
            self.check_room(received.size, "" if is_here else received.series)
            return self._keep(path, received), received
        except OSError as error:
            raise WriteError(
                f"the spool cannot be written: {error.strerror or error}; free some space"
            ) from error
        finally:
            path.unlink(missing_ok=True)

    def _keep(self, path: Path, received: ReceivedObject) -> Kept:
        flush_to_disk(path)
        target = self.folder(received.series) / f"{received.instance}.dcm"
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            flush_to_disk(target.parent.parent)
        try:
            os.link(path, target)  # unlike a rename it never replaces what is there
        except FileExistsError:
            return self._compare(path, target, received)
        flush_to_disk(target.parent)
        self.database.add_object(received)
        return "new"

    def _compare(self, path: Path, target: Path, received: ReceivedObject) -> Kept:
        """What an object is whose UID is here already."""
        here = self.database.digests(received.series, received.instance) or self._adopt(target)
        if here is None or received.content == here[0]:
            if content_of(target) != received.content:  # damaged, or just removed
                path.replace(target)
                flush_to_disk(target.parent)
                self.database.add_object(received)
            self._touch(received.series)
            return "known"
        if received.picture == here[1]:
            self._touch(received.series)
            return "edited"
        name = f"{received.instance}-{received.content[:16]}.dcm"
        conflict = self.root / "conflicts" / received.series / name
        conflict.parent.mkdir(mode=0o700, exist_ok=True)
        path.replace(conflict)
        flush_to_disk(conflict.parent)
        count = len(list(conflict.parent.iterdir()))
        self.database.update("series", {"conflicts": count}, {"series": received.series})
        return "conflict"

    def _touch(self, series: str) -> None:
        """Note that something of a series came, although nothing new."""
        where = {"series": series, "state": "receiving"}
        self.database.update("series", {"last_at": time.time()}, where)

    def recover(self) -> int:
        """Make the database agree with the files, as after a crash; how many objects it lacked."""
        self._clear()
        in_database = self.database.objects()
        paths = {(p.parent.name, p.stem): p for p in (self.root / "series").glob("*/*.dcm")}
        self.database.remove_objects(in_database - paths.keys())
        new = sorted(paths.keys() - in_database)
        return sum(self._adopt(paths[name]) is not None for name in new)

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
            received = examine(path)
        except (RefusedError, OSError):
            received = None
        name = (path.parent.name, path.stem)
        if received is None or (received.series, received.instance) != name:
            path.unlink(missing_ok=True)
            return None
        self.database.add_object(received)
        return received.content, received.picture

    def dead_letter(self, row: SeriesRow | Delivery, *, code: str, message: str) -> None:
        """Leave a small file that says what was given up, and why."""
        letter = {"what": row.kind, "name": row.name, "code": code, "message": message}
        scratch = self.scratch()
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(letter), indent=2) + b"\n")
        scratch.replace(self.root / "failed" / f"{row.name}.json")

    def requeue(self, row: SeriesRow | Delivery) -> bool:
        """Let what was given up or refused be tried again; a series with what there is of it."""
        (self.root / "failed" / f"{row.name}.json").unlink(missing_ok=True)
        state: Literal["ready", "waiting"] = "ready" if isinstance(row, SeriesRow) else "waiting"
        return self.database.set_state(row, state)

    @property
    def is_served(self) -> bool:
        """Whether a process listens for the spool."""
        try:
            self.lock().release()
        except InputError:
            return True
        return False

    def lock(self) -> FileLock:
        """Lock the spool while listening; raises `InputError` when another process has it."""
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
