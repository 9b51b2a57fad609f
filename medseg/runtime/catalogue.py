"""The folder is the catalogue: parts of a room are its files, found by name, imported on demand."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from medseg.errors import PlanError

_FURNITURE = {
    "protocol", "layers", "instance_norm", "cost", "slice_wise", "encoders", "integrity",
    "monai_reader", "stack_headers", "file_headers", "pretrained", "fitting",
    "study",
}  # fmt: skip


def names(room: str) -> tuple[str, ...]:
    """Public names in a room, sorted.

    Parameters
    ----------
    room : str
        Dotted package name, such as ``"medseg.networks"``.

    Returns
    -------
    tuple of str
    """
    package = importlib.import_module(room)
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if name not in _FURNITURE and name[0] != "_"))


def load(room: str, name: str) -> ModuleType:
    """The part called `name`.

    Parameters
    ----------
    room : str
        Dotted package name.
    name : str
        A name that :func:`names` lists.

    Returns
    -------
    module

    Raises
    ------
    PlanError
        When there is no such part; the message lists those there are.
    """
    known = names(room)
    if name not in known:
        raise PlanError(f"no '{name}' in {room}; it holds: {', '.join(known)}", code="UNKNOWN_NAME")
    return importlib.import_module(f"{room}.{name}")
