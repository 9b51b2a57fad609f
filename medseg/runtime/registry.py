"""The folder is the registry: parts of a package are its modules, imported on demand."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from medseg.errors import PlanError

_CONTRACT = "protocol"  # what every module of such a package offers; none of them itself


def names(package: str) -> tuple[str, ...]:
    """Names of the parts in a package (``"medseg.networks"``): its public modules, sorted."""
    path = importlib.import_module(package).__path__
    return tuple(
        sorted(
            module.name
            for module in pkgutil.iter_modules(path)
            if not module.ispkg and module.name != _CONTRACT and module.name[0] != "_"
        )
    )


def load(package: str, name: str) -> ModuleType:
    """The part of a package called `name`.

    Raises
    ------
    PlanError
        When there is no such part; the message lists those there are.
    """
    parts = names(package)
    if name not in parts:
        raise PlanError(
            f"no '{name}' in {package}; it holds: {', '.join(parts)}", code="UNKNOWN_NAME"
        )
    return importlib.import_module(f"{package}.{name}")
