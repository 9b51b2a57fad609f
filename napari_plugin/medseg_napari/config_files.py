"""Small JSON files among the person's settings, each written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

Content = TypeVar("Content", bound=msgspec.Struct)


def config_folder() -> Path:
    """Where this person's settings of medseg lie."""
    import platformdirs

    return Path(platformdirs.user_config_dir("medseg"))


def read_config(name: str, default: Content) -> Content:
    """The content of a file in :func:`config_folder`; `default` when none can be read."""
    try:
        data = (config_folder() / name).read_bytes()
        return msgspec.json.decode(data, type=type(default))
    except (OSError, msgspec.DecodeError):
        return default


def write_config(name: str, content: msgspec.Struct) -> None:
    """Write a file in :func:`config_folder`."""
    from medseg.writing import atomic

    path = config_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path, suffix=".json") as temporary:
        temporary.write_bytes(msgspec.json.encode(content))
