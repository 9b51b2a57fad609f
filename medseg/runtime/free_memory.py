"""How much main memory this process may still take."""

from __future__ import annotations

import re
from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_GROUPS = Path("/proc/self/cgroup")
_GROUP_FOLDERS = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def free_memory_bytes() -> int | None:
    """What the system can give, and the control group of a container or job allows.

    Returns
    -------
    int or None
        None where the system does not say so (not Linux).

    References
    ----------
    proc(5): MemAvailable. Linux, admin-guide/cgroup-v2: memory.max; inactive files are dropped
    before a limit is met, so they count as free.
    """
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", _SYSTEM.read_text())
    except OSError:
        return None
    if match is None:
        return None
    return max(0, min([int(match[1]) * 1024, *_free_in_groups()]))


def _free_in_groups() -> list[int]:
    """What each control group that holds this process, and has a limit, leaves."""
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:
        return []
    free = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = _GROUP_FOLDERS / controllers
        inner = top / path.lstrip("/")
        folders = [inner, *inner.parents] if inner.is_dir() else [top]
        free += [left for folder in folders if (left := _left(folder)) is not None]
    return free


def _left(folder: Path) -> int | None:
    for limit, used in _LIMITS:
        try:
            most = int((folder / limit).read_text())  # "max" is no number: no limit
            now = int((folder / used).read_text())
            files = re.search(r"inactive_file (\d+)", (folder / "memory.stat").read_text())
        except (OSError, ValueError):
            continue
        return most - now + (int(files[1]) if files else 0)
    return None
