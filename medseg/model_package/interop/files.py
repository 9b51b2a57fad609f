"""Files of a model, in a folder or in a zip archive: read by name, nothing is unpacked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from medseg.errors import PackageError

_MOST_BYTES = 8 << 30


class ModelFiles:
    """The files below a folder, or in a zip archive, by their paths with ``/``.

    Parameters
    ----------
    path : Path

    Raises
    ------
    PackageError
        When the archive is damaged or leads out of itself, or the folder cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._named():
            if path.is_dir():
                files = (file for file in path.rglob("*") if file.is_file())
                self.names = sorted(file.relative_to(path).as_posix() for file in files)
            else:
                with zipfile.ZipFile(path) as archive:
                    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
                self.names = sorted(_checked(entry, path) for entry in entries)

    def root_of(self, *endings: str) -> str | None:
        """What stands before the first of the `endings` that a file has; None where none has."""
        for ending in endings:
            for name in self.names:
                if name == ending or name.endswith(f"/{ending}"):
                    return name.removesuffix(ending)
        return None

    def where(self, name: str) -> str:
        """A file as messages name it."""
        return f"{self.path}/{name}"

    def read(self, name: str) -> bytes:
        """All of a file.

        Parameters
        ----------
        name : str
            Such as ``"configs/inference.json"``.

        Raises
        ------
        PackageError
            When there is no such file, or it is damaged.
        """
        if name not in self.names:
            raise PackageError(
                f"'{self.where(name)}' is missing; copy the model again", code="MISSING_FILE"
            )
        with self._named():
            if self.path.is_dir():
                return (self.path / name).read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise PackageError(
                f"'{self.path}' cannot be read ({type(error).__name__}: {error}); copy the model"
                " again",
                code="DAMAGED",
            ) from error


def _checked(entry: zipfile.ZipInfo, path: Path) -> str:
    """The name of an entry that stays in the archive."""
    parts = PurePosixPath(entry.filename.replace("\\", "/"))
    leads_out = parts.is_absolute() or ".." in parts.parts or ":" in entry.filename
    if leads_out or stat.S_ISLNK(entry.external_attr >> 16) or entry.flag_bits & 1:
        raise PackageError(
            f"'{path}' holds '{entry.filename}', a link, a locked file or a path that leads out of"
            " it; do not use it, or unpack it yourself and give the folder",
            code="UNSAFE_ARCHIVE",
        )
    if entry.file_size > _MOST_BYTES:
        raise PackageError(
            f"'{path}' holds '{entry.filename}' of {entry.file_size >> 30} GiB; no model is so"
            " large",
            code="TOO_LARGE",
        )
    return parts.as_posix()
