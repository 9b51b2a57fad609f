"""Label maps kept in a folder of the person's own, in case the program or the machine dies.

Each session has a folder with a random name, a lock that the operating system lets go of when the
process ends however it ends, an index and one file of voxels for each layer. No file name holds
anything of the patient or the scan, and the folder is open to its owner alone.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.errors import MedsegError, ReadError, WriteError
from medseg_napari.editing.saved_layers import SavedLayer, Snapshot, entry_of, packed

FOLDER_VARIABLE = "MEDSEG_AUTOSAVE_DIR"
_INDEX = "index.json"
_LOCK = "lock"


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    saved_at: float
    layers: tuple[SavedLayer, ...]


def default_folder() -> Path:
    """Where sessions are kept: a folder of the person's own, never beside the scans."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_state_path

    return user_state_path("medseg", appauthor=False) / "autosave"


@dataclass
class Session:
    """The folder of one run of the program; held by a lock until it ends.

    Parameters
    ----------
    root : Path
        Where the sessions of this person are kept.
    """

    root: Path
    folder: Path = field(init=False)
    _written: set[str] = field(default_factory=set, init=False)
    _writing: Any = field(default_factory=threading.Lock, init=False)
    _lock: Any = field(default=None, init=False)
    _over: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.folder = self.root / uuid.uuid4().hex

    def save(self, snapshots: Iterable[Snapshot]) -> int:
        """Write what changed since the last time.

        Parameters
        ----------
        snapshots : iterable of Snapshot
            Every Labels layer. Those without a label, and those that lie in a file of the person's
            as they are, need no keeping; with none to keep, the session leaves nothing behind.

        Returns
        -------
        int
            How many layers were written anew.

        Raises
        ------
        WriteError
            When the folder may not be written or is full; what was kept before still is.
        """
        with self._writing:
            try:
                return self._save(list(snapshots))
            finally:
                if self._over:
                    self._release()

    def _save(self, snapshots: list[Snapshot]) -> int:
        kept = [(entry_of(one), one) for one in snapshots if one.voxels.any()]
        kept = [(entry, one) for entry, one in kept if entry.checksums != one.saved]
        if not kept:
            self._clear()
            return 0
        self.open()
        written = sum(self._write(entry, one) for entry, one in kept)
        entries = tuple(entry for entry, _ in kept)
        _replace(self.folder / _INDEX, msgspec.json.encode(_Index(1, _now(), entries)))
        self._written = {entry.file for entry in entries}
        self._sweep(self._written)
        return written

    def _write(self, entry: SavedLayer, one: Snapshot) -> bool:
        """Write the voxels of a layer unless they lie there already."""
        if entry.file in self._written:
            return False
        _replace(self.folder / entry.file, packed(one.voxels))
        return True

    def clear(self) -> None:
        """Forget everything that is kept, as all of it is saved elsewhere."""
        with self._writing:
            self._clear()

    def _clear(self) -> None:
        self._written = set()
        self._release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of the lock, also after a round that is still to come; what is kept is offered."""
        self._over = True
        with self._writing:
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

    def _sweep(self, wanted: set[str]) -> None:
        for file in self.folder.glob("*.z"):
            if file.name not in wanted:
                file.unlink(missing_ok=True)


@dataclass(frozen=True)
class RecoverableSession:
    """What a session that ended without saving has kept.

    Parameters
    ----------
    folder : Path
    saved_at : float
        Seconds since 1970.
    layers : tuple of SavedLayer
    """

    folder: Path
    saved_at: float
    layers: tuple[SavedLayer, ...]

    def voxels(self, layer: SavedLayer) -> npt.NDArray[Any]:
        """The voxels of a layer.

        Raises
        ------
        ReadError
            When the file is damaged.
        """
        try:
            raw = zlib.decompress((self.folder / Path(layer.file).name).read_bytes())
        except (OSError, zlib.error) as error:
            raise ReadError(f"the autosave of '{layer.name}' cannot be read: {error}") from error
        if zlib.crc32(raw) != layer.crc32:
            raise ReadError(f"the autosave of '{layer.name}' is damaged: its checksum differs")
        return np.frombuffer(raw, np.dtype(layer.dtype)).reshape(layer.shape).copy()

    def decline(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def leftovers(root: Path) -> list[RecoverableSession]:
    """Sessions that are over and have something to restore, the newest first.

    Parameters
    ----------
    root : Path
        Where the sessions of this person are kept. Those of running programs are left alone.
    """
    folders = [one for one in root.iterdir() if one.is_dir()] if root.is_dir() else []
    found = [one for folder in folders if (one := _leftover(folder)) is not None]
    return sorted(found, key=lambda one: -one.saved_at)


def _leftover(folder: Path) -> RecoverableSession | None:
    try:
        index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=_Index)
    except (OSError, msgspec.MsgspecError, MedsegError):
        return None
    try:
        _hold(folder).release()
    except OSError:
        return None  # its program still runs
    if not index.layers or index.version != 1:
        return None
    return RecoverableSession(folder, index.saved_at, index.layers)


def _hold(folder: Path) -> Any:
    """The lock of a session's folder, held; `OSError` when another process holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise OSError(f"'{folder.name}' is in use") from error
    return lock


def _replace(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    from medseg.writing import atomic

    with atomic(path, suffix=path.suffix) as temporary:
        temporary.write_bytes(content)


def _now() -> float:
    return time.time()
