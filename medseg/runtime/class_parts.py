"""Parts by the name of a class: ``monai:VNet``, or ``pkg.nets:Net`` of any installed package.

What such a part may be set to is read from the signature of the class. A class is imported only
from an installed package, and only a `torch.nn.Module` is made, so that a name in a stored file
runs nothing that the person did not install.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
import typing
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec
from msgspec import UNSET, UnsetType

from medseg.errors import PlanError, reason
from medseg.runtime import registry

GIVEN = "given:"
"""Before the name of an object of Python, which cannot be made again from its name."""
MONAI = {"medseg.networks": "monai.networks.nets", "medseg.losses": "monai.losses"}
"""Where MONAI has the parts of a package."""
_TAKEN = {
    "medseg.networks": {"spatial_dims", "in_channels", "out_channels"},
    "medseg.losses": {"to_onehot_y"},
}
_PLAIN = (int, float, str, bool, NoneType)


def is_given(name: str) -> bool:
    """Whether a part's name is that of an object that was given in Python."""
    return name.startswith(GIVEN)


def is_class_name(name: str) -> bool:
    """Whether a part's name is that of a class."""
    return ":" in name


def class_of(package: str, name: str) -> type[Any]:
    """The class behind a name such as ``"monai:VNet"`` or ``"pkg.nets:Net"``.

    Raises
    ------
    PlanError
        When it is an object of Python, of a package that is not installed, or no
        `torch.nn.Module`.
    """
    from torch import nn

    noun = registry.KINDS[package].noun
    if is_given(name):
        raise PlanError(
            f"the {noun} '{name.removeprefix(GIVEN)}' was given as an object of Python and cannot"
            f" be made from its name; give it again: {noun}=...",
            code="GIVEN",
        )
    module_name, _, class_name = _path(package, name).partition(":")
    if _distribution(module_name) is None:
        raise PlanError(
            f"no {noun} '{name}': no installed package has '{module_name}'; install it, or give the"
            f" {noun} as an object in Python",
            code="NOT_INSTALLED",
        )
    try:
        part = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as error:
        raise PlanError(f"the {noun} '{name}' cannot be imported: {error}") from error
    if not (isinstance(part, type) and issubclass(part, nn.Module)):
        candidates = [f"monai:{name}" for name in monai_names(package)]
        listing = ", ".join(difflib.get_close_matches(name, candidates) or candidates)
        raise PlanError(
            f"no {noun} '{name}': {module_name} has no torch.nn.Module '{class_name}'; MONAI's are"
            f" such as: {listing}",
            code="UNKNOWN_NAME",
        )
    return part


def class_name(package: str, part: type[Any]) -> str | None:
    """The name that `class_of` finds a class by; None for one of no installed package."""
    monai = importlib.import_module(MONAI[package])
    if getattr(monai, part.__name__, None) is part:
        return f"monai:{part.__name__}"
    if _distribution(part.__module__) is None or part.__qualname__ != part.__name__:
        return None
    return f"{part.__module__}:{part.__name__}"


def source(package: str, name: str) -> registry.Source:
    """Where a part comes from, whether it is named for a file, an entry point or a class.

    Raises
    ------
    PlanError
        As :func:`class_of` and :func:`medseg.runtime.registry.source`.
    """
    if not is_class_name(name):
        return registry.source(package, name)
    part = class_of(package, name)
    owner = _distribution(part.__module__) or ""
    path = f"{part.__module__}:{part.__name__}"
    return registry.Source(owner, version(owner), path)


def monai_names(package: str) -> tuple[str, ...]:
    """Names of MONAI's classes that take what medseg's parts of a package take."""
    from torch import nn

    needs = _TAKEN[package]
    home = importlib.import_module(MONAI[package])
    return tuple(
        name
        for name, part in sorted(vars(home).items())
        if isinstance(part, type) and issubclass(part, nn.Module) and part.__name__ == name
        if needs <= set(inspect.signature(part).parameters)
    )


def settings_type(part: type[Any], without: Collection[str] = ()) -> type[msgspec.Struct]:
    """A strict structure of the arguments of a class that JSON can hold; all may be left out.

    Parameters
    ----------
    part : type
    without : collection of str
        Arguments that are no settings.
    """
    hints = typing.get_type_hints(part.__init__)
    fields: list[tuple[str, Any, Any]] = []
    for name in _parameters(part):
        kind = _json_type(hints.get(name, Any))
        if name not in without and kind is not None:
            fields.append((name, Union[kind, UnsetType], UNSET))  # noqa: UP007 - made at run time
    return msgspec.defstruct(
        f"{part.__name__}Settings", fields, frozen=True, kw_only=True, forbid_unknown_fields=True
    )


def required(part: type[Any]) -> tuple[str, ...]:
    """Names of the arguments of a class that have no default."""
    parameters = _parameters(part)
    return tuple(name for name, each in parameters.items() if each.default is each.empty)


def make(part: type[Any], settings: msgspec.Struct, **more: Any) -> Any:
    """An object of the class.

    Parameters
    ----------
    part : type
    settings : msgspec.Struct
        Of the type that :func:`settings_type` gives.
    **more : object
        Further arguments; those that the class does not take are left out.

    Raises
    ------
    PlanError
        When an argument is missing, or the class refuses one.
    """
    parameters = _parameters(part)
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    arguments = {name: _frozen(value) for name, value in values.items() if value is not UNSET}
    arguments |= {name: value for name, value in more.items() if name in parameters}
    missing = [name for name in required(part) if name not in arguments]
    if missing:
        raise PlanError(f"{part.__name__} needs {', '.join(missing)}; give it as a setting")
    try:
        return part(**arguments)
    except Exception as error:  # another's code; it may raise anything
        raise PlanError(f"{part.__name__} refuses its settings: {reason(error)}") from error


def _parameters(part: type[Any]) -> dict[str, inspect.Parameter]:
    """Arguments of a class that can be given by name."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(part).parameters.items()
    return {name: parameter for name, parameter in parameters if parameter.kind in by_name}


def _path(package: str, name: str) -> str:
    """Module and class, as ``"module:Class"``."""
    prefix, _, rest = name.partition(":")
    return f"{MONAI[package]}:{rest}" if prefix == "monai" else f"{prefix}:{rest}"


def _distribution(module_name: str) -> str | None:
    """The installed package that a module belongs to."""
    top = module_name.partition(".")[0]
    owners = _owners(tuple(sys.path)).get(top)
    return owners[0] if owners else _editable_owner(top)


def _editable_owner(module_name: str) -> str | None:
    """The package whose source folder a module lies in, installed with ``pip install -e``."""
    spec = importlib.util.find_spec(module_name)
    paths = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    files = [Path(path) for path in paths if path]
    for distribution in importlib.metadata.distributions():
        record = json.loads(distribution.read_text("direct_url.json") or "{}")
        is_ours = distribution.metadata["Name"] == "medseg"  # its parts are named by file
        if record.get("dir_info", {}).get("editable") and not is_ours:
            folder = Path(url2pathname(urlsplit(record["url"]).path))
            if any(file.is_relative_to(folder) for file in files):
                return str(distribution.metadata["Name"])
    return None


@functools.lru_cache(maxsize=8)
def _owners(_path: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
    """Installed packages by their modules; looked for once for each list of folders."""
    return packages_distributions()


def _json_type(hint: Any) -> Any:
    """What JSON can hold of a type; None when that is nothing."""
    origin = typing.get_origin(hint)
    if origin in (Union, UnionType):
        return _json_union([_json_type(option) for option in typing.get_args(hint)])
    if hint is Any or hint in _PLAIN or origin is Literal:
        return hint
    kind = origin or hint
    if not isinstance(kind, type):
        return None
    if issubclass(kind, Enum):
        return str if issubclass(kind, str) else None
    if issubclass(kind, Mapping):
        return dict
    return _json_list(hint) if issubclass(kind, Sequence) else None


def _json_list(hint: Any) -> Any:
    """A list, of one type where all entries have it."""
    entries = [kind for kind in typing.get_args(hint) if kind is not Ellipsis]
    kind = _json_type(entries[0]) if len(entries) == 1 else None
    return list if kind is None else list[kind]  # type: ignore[valid-type]


def _json_union(kinds: Sequence[Any]) -> Any:
    """One of several types: two kinds of list become any list, as JSON cannot tell them apart."""
    if None in kinds and set(kinds) <= {None, NoneType}:
        return None
    lists = {kind for kind in kinds if (typing.get_origin(kind) or kind) is list}
    others = {kind for kind in kinds if kind is not None and kind not in lists}
    merged = [*others, *(lists if len(lists) < 2 else [list])]
    return Union[tuple(merged)]  # noqa: UP007 - made at run time


def _frozen(value: Any) -> Any:
    """Lists of JSON as the tuples that signatures ask for."""
    if isinstance(value, list):
        return tuple(_frozen(entry) for entry in value)
    return value
