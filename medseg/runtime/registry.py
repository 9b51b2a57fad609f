"""The folder is the registry: parts of a package are its modules, imported on demand."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from medseg.errors import PlanError

_CONTRACT = "protocol"  # what every part of a room offers; no part itself


def names(room: str) -> tuple[str, ...]:
    """Names of the parts in a package: its public modules but ``protocol``, sorted.

    Parameters
    ----------
    room : str
        Dotted package name, such as ``"medseg.networks"``.
    """
    package = importlib.import_module(room)
    return tuple(
        sorted(
            module.name
            for module in pkgutil.iter_modules(package.__path__)
            if not module.ispkg and module.name != _CONTRACT and module.name[0] != "_"
        )
    )


def load(room: str, name: str) -> ModuleType:
    """The part called `name`.

    Parameters
    ----------
    room : str
    name : str
        A name that :func:`names` lists.

    Raises
    ------
    PlanError
        When there is no such part; the message lists those there are.
    """
    known = names(room)
    if name not in known:
        raise PlanError(f"no '{name}' in {room}; it holds: {', '.join(known)}", code="UNKNOWN_NAME")
    return importlib.import_module(f"{room}.{name}")
