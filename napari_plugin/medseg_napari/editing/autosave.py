"""Label maps kept in a folder of the person's own, in case the program or the machine dies.

Each session has a folder with a random name: one label map (``.nii.gz``) for each layer, one JSON
file, and a lock that the operating system lets go of when the process ends however it ends. No
file name holds anything of the patient or the scan, and the folder is open to its owner alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from medseg.errors import GeometryError, LabelError, MedsegError, ReadError, WriteError
from medseg.volume import LabelMap
from medseg_napari.editing.saved_layers import SavedLayer, Snapshot

FOLDER_VARIABLE = "MEDSEG_AUTOSAVE_DIR"
logger = logging.getLogger(__name__)
_SESSION = "session.json"
_LOCK = "lock"


class _SessionFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema_version: int
    saved_at: float
    layers: tuple[SavedLayer, ...]


def default_folder() -> Path:
    """Where sessions are kept: a folder of the person's own, never beside the scans."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return Path(folder)
    from platformdirs import user_state_path

    return user_state_path("medseg", appauthor=False) / "autosave"


@dataclass
class Session:
    """The folder of one run of the program, below `root`; held by a lock until it ends."""

    root: Path
    folder: Path = field(init=False)
    _written: set[str] = field(default_factory=set, init=False)
    _saving: Any = field(default_factory=threading.Lock, init=False)
    _lock: Any = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.folder = self.root / uuid.uuid4().hex

    def save(self, snapshots: Iterable[Snapshot]) -> int:
        """Write what changed since the last time; how many layers were written anew.

        Layers without a label, and those that lie in a file of the person's as they are, are not
        kept; with none to keep, the session leaves nothing behind.

        Raises
        ------
        WriteError
            When the folder may not be written or is full; what was kept before still is.
        """
        with self._saving:
            try:
                return self._save(snapshots)
            finally:
                if self._closed:
                    self._release()

    def _save(self, snapshots: Iterable[Snapshot]) -> int:
        layers, written = [], 0
        for layer in snapshots:
            try:
                labels, checksums = layer.frozen()
            except (GeometryError, LabelError) as error:
                logger.warning("not kept by autosave: %s", error)
                continue
            if labels.values.any() and checksums != layer.saved:
                layers.append(layer.entry(checksums))
                written += self._write(labels, layers[-1].file)
        if not layers:
            self._clear()
            return 0
        from medseg.writing import atomic

        with atomic(self.folder / _SESSION, suffix=".json") as temporary:
            content = _SessionFile(1, time.time(), tuple(layers))
            temporary.write_bytes(msgspec.json.encode(content))
        self._written = {layer.file for layer in layers}
        for file in self.folder.glob("*.nii.gz"):
            if file.name not in self._written:
                file.unlink(missing_ok=True)
        return written

    def _write(self, labels: LabelMap, name: str) -> bool:
        """Write a label map unless it lies there already."""
        from medseg.writing import write_labels

        self.open()
        if name in self._written:
            return False
        write_labels(labels, self.folder / name)
        return True

    def clear(self) -> None:
        """Forget everything that is kept, as all of it is saved elsewhere."""
        with self._saving:
            self._clear()

    def _clear(self) -> None:
        self._written = set()
        self._release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of the lock, also after a round that is still to come; what is kept is offered."""
        self._closed = True
        with self._saving:
            self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def open(self) -> None:
        """Make the folder and hold its lock; done by the first :meth:`save`."""
        if self._lock is not None:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _hold(self.folder)
        except OSError as error:
            raise WriteError(
                f"autosave cannot write to '{self.root}': {error.strerror or error}; your work is"
                f" not kept. Set {FOLDER_VARIABLE} to a folder you may write to"
            ) from error


@dataclass(frozen=True)
class RecoverableSession:
    """What a session that ended without saving has kept, `saved_at` in seconds since 1970."""

    folder: Path
    saved_at: float
    layers: tuple[SavedLayer, ...]

    def labels(self, layer: SavedLayer) -> LabelMap:
        """The label map of a layer; `ReadError` when its file is damaged."""
        from medseg.reading import read_labels

        try:
            return read_labels(self.folder / Path(layer.file).name)
        except MedsegError as error:
            raise ReadError(f"the autosave of '{layer.name}' cannot be read: {error}") from error

    def discard(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def recoverable_sessions(root: Path) -> list[RecoverableSession]:
    """Sessions below `root` that are over and have something to restore, the newest first.

    Those of running programs are left alone.
    """
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    sessions = [session for session in map(_recoverable, folders) if session is not None]
    return sorted(sessions, key=lambda session: -session.saved_at)


def _recoverable(folder: Path) -> RecoverableSession | None:
    try:
        content = msgspec.json.decode((folder / _SESSION).read_bytes(), type=_SessionFile)
        _hold(folder).release()  # OSError while its program still runs
    except (OSError, msgspec.MsgspecError, MedsegError):
        return None
    if not content.layers or content.schema_version != 1:
        return None
    return RecoverableSession(folder, content.saved_at, content.layers)


def _hold(folder: Path) -> Any:
    """The lock of a session's folder, held; `OSError` when another process holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise OSError(f"'{folder.name}' is in use") from error
    return lock
