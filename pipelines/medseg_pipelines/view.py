"""Opening results in napari, when there is a napari and a display for it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def unavailable_reason() -> str:
    """Why napari cannot be opened here, for a person; empty when it can."""
    on_screen = sys.platform in {"darwin", "win32"}
    if not on_screen and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    if importlib.util.find_spec("napari") is None:
        return "napari is not installed (pip install 'medseg[napari]')"
    return ""


def show_in_napari(paths: Sequence[Path]) -> bool:
    """Open scans and label maps in a napari of its own and wait until it is closed."""
    command = [sys.executable, "-m", "napari", "--plugin", "medseg", *map(str, paths)]
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603 - our own paths
