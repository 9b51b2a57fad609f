"""Whether a folder lies on a disk of this machine, or on one that several machines share."""

from __future__ import annotations

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_OWN = {
    "apfs",
    "bcachefs",
    "btrfs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "hfs",
    "hfsplus",
    "jfs",
    "ntfs",
    "ntfs3",
    "overlay",
    "ramfs",
    "reiserfs",
    "tmpfs",
    "ufs",
    "vfat",
    "exfat",
    "xfs",
    "zfs",
}


def is_of_this_machine(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether only this machine writes to the file system of a folder.

    Parameters
    ----------
    folder : Path
    mounts : Path, optional
        List of mounted file systems, in the form of ``proc(5)``, ``/proc/pid/mountinfo``.

    Returns
    -------
    bool
        True too where the system does not tell.
    """
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return True
    kinds = dict(_mount(line) for line in lines if " - " in line)
    place = folder.resolve()
    return next((kinds[at] in _OWN for at in (place, *place.parents) if at in kinds), True)


def _mount(line: str) -> tuple[Path, str]:
    """Where a file system is mounted, and its kind; the last of several at one place counts."""
    head, _, tail = line.partition(" - ")
    place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), head.split(" ")[4])
    return Path(place), tail.split(" ")[0]
