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
from medseg_napari.config_files import read_config, write_config

if TYPE_CHECKING:
    from medseg.model_package import ModelPackage

FILE = "models.json"
_listeners: list[weakref.ReferenceType[Any]] = []


class ModelList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file ``models.json``: folders of model packages, the newest last."""

    schema_version: int = 1
    folders: tuple[str, ...] = ()


def add(folder: str | Path) -> ModelPackage:
    """Keep the package of a folder, or of a finished run in it, and tell every listener."""
    from medseg.model_package import find_package

    package = find_package(Path(folder).resolve())
    path = str(package.folder)
    folders = [other for other in read_config(FILE, ModelList()).folders if other != path]
    write_config(FILE, ModelList(folders=(*folders, path)))
    for listener in list(_listeners):
        if not _notify(listener(), package):
            _listeners.remove(listener)
    return package


def all() -> list[ModelPackage]:  # noqa: A001 - known_models.all()
    """The packages that were added and are still whole, the newest first."""
    from medseg.model_package import find_package

    packages = []
    for folder in reversed(read_config(FILE, ModelList()).folders):
        try:
            packages.append(find_package(folder))
        except MedsegError:
            continue
    return packages


def connect(listener: Callable[[ModelPackage], None]) -> None:
    """Call a bound method with each package that is added, for as long as its object lives."""
    _listeners.append(weakref.WeakMethod(listener))


def _notify(listener: Callable[[ModelPackage], None] | None, package: ModelPackage) -> bool:
    """Whether somebody still listens; a widget whose window was destroyed raises RuntimeError."""
    if listener is None:
        return False
    try:
        listener(package)
    except RuntimeError:
        return False
    return True
