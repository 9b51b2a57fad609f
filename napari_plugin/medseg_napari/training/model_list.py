"""Models of one's own: folders kept in the person's settings, for all panels that list models.

known_models.add(folder)      # offered from now on, and after the next start of napari
known_models.all()            # ModelPackages that are still there
known_models.connect(f)       # f(package) is called for each that is added
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from medseg.errors import MedsegError

if TYPE_CHECKING:
    from medseg.model_package import ModelPackage

FILE = "models.json"
_listeners: list[weakref.ReferenceType[Any]] = []


class ModelList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file ``models.json``.

    Parameters
    ----------
    schema_version : int
    folders : tuple of str
        Of model packages, the newest last.
    """

    schema_version: int = 1
    folders: tuple[str, ...] = ()


def config_folder() -> Path:
    """Where this person's settings of medseg lie."""
    import platformdirs

    return Path(platformdirs.user_config_dir("medseg"))


def add(folder: str | Path) -> ModelPackage:
    """Keep a model package and tell every listener.

    Parameters
    ----------
    folder : str or Path
        Of the package, or of a training run that is finished.

    Raises
    ------
    PackageError
        When the folder holds no model.
    """
    from medseg.model_package import find_package

    package = find_package(Path(folder).resolve())
    place = str(package.folder)
    folders = [one for one in _folders() if one != place]
    _write([*folders, place])
    for listener in list(_listeners):
        if not _told(listener(), package):
            _listeners.remove(listener)
    return package


def all() -> list[ModelPackage]:  # noqa: A001 - known_models.all()
    """The packages that were added and are still whole, the newest first."""
    from medseg.model_package import find_package

    found = []
    for folder in reversed(_folders()):
        try:
            found.append(find_package(folder))
        except MedsegError:
            continue
    return found


def connect(listener: Callable[[ModelPackage], None]) -> None:
    """Call a bound method with each package that is added, for as long as its object lives."""
    _listeners.append(weakref.WeakMethod(listener))


def _told(listener: Callable[[ModelPackage], None] | None, package: ModelPackage) -> bool:
    """Whether somebody still listens; a widget whose window was destroyed raises RuntimeError."""
    if listener is None:
        return False
    try:
        listener(package)
    except RuntimeError:
        return False
    return True


def _folders() -> list[str]:
    try:
        data = (config_folder() / FILE).read_bytes()
        return list(msgspec.json.decode(data, type=ModelList).folders)
    except (OSError, msgspec.DecodeError):
        return []


def _write(folders: list[str]) -> None:
    from medseg.writing import atomic

    home = config_folder()
    home.mkdir(parents=True, exist_ok=True)
    with atomic(home / FILE, suffix=".json") as temporary:
        temporary.write_bytes(msgspec.json.encode(ModelList(folders=tuple(folders))))
