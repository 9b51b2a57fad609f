"""The parts of a package: the files of its folder, and entry points of installed packages.

A part is imported when it is asked for. Names and where they come from are known without that.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from medseg.errors import MedsegError, PlanError, reason

_CONTRACT = "protocol"  # what every module of such a package offers; none of them itself


@dataclass(frozen=True)
class Kind:
    """What the parts of a package have in common.

    Parameters
    ----------
    noun : str
        What a part is called in a sentence.
    group : str
        Of the entry points.
    needs : tuple of str
        Names that every part has.
    """

    noun: str
    group: str
    needs: tuple[str, ...]


KINDS = {
    "medseg.augmentation": Kind("augmentation", "medseg.augmentation", ("Settings", "build")),
    "medseg.losses": Kind("loss", "medseg.losses", ("Settings", "build")),
    "medseg.networks": Kind("network", "medseg.networks", ("Settings", "build")),
    "medseg.networks.encoders": Kind("encoder", "medseg.encoders", ("build",)),
    "medseg.postprocessing": Kind(
        "postprocessing step", "medseg.postprocessing", ("WORKS_ON", "Settings", "build")
    ),
    "medseg.reading": Kind("reader", "medseg.readers", ("recognises",)),
    "medseg.writing": Kind("writer", "medseg.writers", ("suffixes",)),
}
"""By the package of medseg that holds such parts."""


@dataclass(frozen=True)
class Source:
    """Where a part comes from.

    Parameters
    ----------
    distribution, version : str
        Of the installed package; both empty for a part of medseg's own.
    path : str
        Import path, such as ``"medseg.networks.unet"`` or ``"their_package.parts:stack"``.
    """

    distribution: str
    version: str
    path: str

    def __str__(self) -> str:
        owner = f"the package {self.distribution} {self.version}" if self.distribution else "medseg"
        return f"{self.path} of {owner}"


def names(package: str) -> tuple[str, ...]:
    """Names of the parts of a package (``"medseg.networks"``) and of its entry points, sorted."""
    return tuple(sorted({*_files(package), *plugin_names(package)}))


def plugin_names(package: str) -> tuple[str, ...]:
    """Names of the parts that installed packages add, sorted."""
    return tuple(sorted({point.name for point in _entry_points(KINDS[package].group)}))


def source(package: str, name: str) -> Source:
    """Where a part comes from; nothing is imported.

    Raises
    ------
    PlanError
        When there is no such part, or several of that name.
    """
    return _origin(package, name)[0]


def load(package: str, name: str) -> Any:
    """The part of a package called `name`: a module, or what an entry point names.

    Raises
    ------
    PlanError
        When there is no such part (the message lists those there are), several of that name, or
        it cannot be imported or lacks what every part has.
    """
    origin, point = _origin(package, name)
    noun = KINDS[package].noun
    if point is None:
        part: Any = importlib.import_module(origin.path)
    else:
        try:
            part = point.load()
        except Exception as error:  # another's code; it may raise anything
            raise PlanError(
                f"the {noun} '{name}' ({origin}) cannot be imported: {type(error).__name__}:"
                f" {reason(error)}; mend or uninstall that package",
                code="BROKEN_PART",
            ) from error
    missing = [attribute for attribute in KINDS[package].needs if not hasattr(part, attribute)]
    if missing:
        raise PlanError(
            f"'{name}' ({origin}) is no {noun}: it lacks {', '.join(missing)}; add that, or let a"
            " file that is no part begin with '_'",
            code="NO_PART",
        )
    return part


def load_all(package: str) -> dict[str, Any]:
    """Every part of a package, by name: its files, then :func:`plugins`.

    Raises
    ------
    PlanError
        When a file of the folder holds no part, or two parts have one name.
    """
    return {name: load(package, name) for name in _files(package)} | plugins(package)


def plugins(package: str) -> dict[str, Any]:
    """The parts that installed packages add and that can be used, by name.

    Those that cannot are named in a warning each.

    Raises
    ------
    PlanError
        When two parts have one name.
    """
    parts = {}
    for name in plugin_names(package):
        try:
            parts[name] = load(package, name)
        except MedsegError as error:
            if error.code == "TWO_PARTS":
                raise
            warnings.warn(str(error), stacklevel=2)
    return parts


def _origin(package: str, name: str) -> tuple[Source, EntryPoint | None]:
    """Where the only part of a name comes from."""
    origins: list[tuple[Source, EntryPoint | None]] = [
        (_source_of(point), point)
        for point in _entry_points(KINDS[package].group)
        if point.name == name
    ]
    if name in _files(package):
        origins.insert(0, (Source("", "", f"{package}.{name}"), None))
    noun = KINDS[package].noun
    if not origins:
        raise PlanError(
            f"no {noun} '{name}' in {package}; there are: {', '.join(names(package))}",
            code="UNKNOWN_NAME",
        )
    if len(origins) > 1:
        listing = " and ".join(str(origin) for origin, _ in origins)
        raise PlanError(
            f"the {noun} '{name}' is there {len(origins)} times, as {listing}; uninstall all"
            " packages but one, or have the part renamed",
            code="TWO_PARTS",
        )
    return origins[0]


def _files(package: str) -> tuple[str, ...]:
    """Public modules of a package's folder."""
    path = importlib.import_module(package).__path__
    return tuple(
        module.name
        for module in pkgutil.iter_modules(path)
        if not module.ispkg and module.name != _CONTRACT and module.name[0] != "_"
    )


def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return _entry_points_on(group, tuple(sys.path))


@functools.lru_cache(maxsize=64)
def _entry_points_on(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of a group; looked for once for each list of folders to import from."""
    return tuple(entry_points(group=group))


def _source_of(point: EntryPoint) -> Source:
    owner = point.dist
    return Source(owner.name if owner else "", owner.version if owner else "", point.value)
