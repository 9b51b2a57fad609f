"""Where medseg keeps what it can make again: a folder of this person on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "MEDSEG_CACHE"
"""Of the environment; names another folder."""


def cache_folder() -> Path:
    """The folder, which may not be there yet; without data of patients, safe to delete.

    It is ``medseg`` in the place that the operating system has for caches: ``$XDG_CACHE_HOME`` or
    ``~/.cache`` on Linux (XDG Base Directory Specification 0.8), ``~/Library/Caches`` on macOS,
    ``%LOCALAPPDATA%`` on Windows.
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "medseg"
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    return Path(os.environ.get(variable) or Path.home() / ".cache") / "medseg"
