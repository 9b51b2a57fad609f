"""The files below a folder, with size and time of change: all that an unchanged archive costs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import ReadError
from medseg.runtime.progress import Progress
from medseg_pipelines.batch.nouns import Fault

Entry = tuple[bytes, int, int]
"""A file's name, its size in bytes, and when it changed, in ns."""

OUTPUT_MARK = b".medseg"
_TOLD_EVERY = 256


@dataclass
class Tree:
    """What was found, by paths from the root as the file system has them.

    Parameters
    ----------
    root : bytes
        Absolute, without symbolic links.
    folders : dict of bytes to list of Entry
        For each folder its regular files, sorted by name; those without files are left out.
    faults : dict of bytes to Fault
        What could not be looked into, or leads elsewhere.
    """

    root: bytes
    folders: dict[bytes, list[Entry]] = field(default_factory=dict)
    faults: dict[bytes, Fault] = field(default_factory=dict)

    def path(self, folder: bytes, name: bytes = b"") -> Path:
        """The absolute path of a file or folder of the tree."""
        return Path(os.fsdecode(joined(joined(self.root, folder), name)))


def joined(folder: bytes, name: bytes) -> bytes:
    """The path of what lies in a folder; either may be empty."""
    return folder.rstrip(b"/") + b"/" + name if folder and name else folder or name


def walk(root: Path, *, progress: Progress) -> Tree:
    """List a folder at any depth, or a single file as if nothing lay beside it.

    Hidden files and folders, and folders that hold results of a batch, are passed over. Of
    symbolic links only those to a hidden file inside of the root are followed; what else lies
    inside is found without them.

    Parameters
    ----------
    root : Path
        A folder or a file.
    progress : Progress
        Called after some hundred folders; the total is not known.

    Returns
    -------
    Tree

    Raises
    ------
    ReadError
        When there is nothing at `root`, or it cannot be listed.
    """
    base = os.fsencode(root.resolve())
    if root.is_file():
        folder, _, name = base.rpartition(b"/")
        seen = root.stat()
        return Tree(folder or b"/", {b"": [(name, seen.st_size, seen.st_mtime_ns)]})
    try:
        os.scandir(base).close()
    except OSError as error:
        raise ReadError(
            f"'{root}' is no folder that can be listed ({error.strerror}); check the path",
            code="NOT_FOUND",
        ) from error
    tree, waiting, done = Tree(base), [b""], 0
    while waiting:
        folder = waiting.pop()
        waiting += _look(tree, folder)
        done += 1
        if done % _TOLD_EVERY == 0 or not waiting:
            progress(done, done + len(waiting), "looking through folders")
    return tree


def _look(tree: Tree, folder: bytes) -> list[bytes]:
    """Take down the files of a folder; return the folders in it."""
    files: list[Entry] = []
    inner: list[bytes] = []
    try:
        with os.scandir(joined(tree.root, folder)) as entries:
            for entry in entries:
                name = entry.name
                if name[:1] == b".":
                    if folder and name == OUTPUT_MARK:
                        return []
                    continue
                mode = _take(tree, folder, entry, files)
                if stat.S_ISDIR(mode):
                    inner.append(joined(folder, name))
    except FileNotFoundError:  # it went while we were on the way
        return []
    except OSError as error:
        tree.faults[folder] = _unreadable(error)
    if files:
        files.sort()
        tree.folders[folder] = files
    return inner


def _take(tree: Tree, folder: bytes, entry: os.DirEntry[bytes], files: list[Entry]) -> int:
    """Add an entry to the files, if it is one; its mode, or 0 when it shall not be entered."""
    name = entry.name
    try:
        if not name.isascii():
            name.decode()
        seen = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(seen.st_mode):
            seen, fault = _behind(tree, entry)
            if fault:
                tree.faults[joined(folder, name)] = fault
        if stat.S_ISREG(seen.st_mode):
            files.append((name, seen.st_size, seen.st_mtime_ns))
    except UnicodeDecodeError:
        tree.faults[joined(folder, name)] = _NAME
        return 0
    except FileNotFoundError:
        return 0
    except OSError as error:
        tree.faults[joined(folder, name)] = _unreadable(error)
        return 0
    return seen.st_mode


def _behind(tree: Tree, entry: os.DirEntry[bytes]) -> tuple[os.stat_result, Fault | None]:
    """What stands for a symbolic link: the hidden file it leads to, else nothing, and why."""
    own = entry.stat(follow_symlinks=False)
    target = os.path.realpath(entry.path)
    if target != tree.root and not target.startswith(tree.root.rstrip(b"/") + b"/"):
        return own, _LEADS_OUT
    if not Path(os.fsdecode(target)).exists():
        return own, _LEADS_NOWHERE
    if b"/." not in target[len(tree.root.rstrip(b"/")) :]:
        return own, None  # found where it lies
    there = Path(os.fsdecode(target)).stat()
    return (there, None) if stat.S_ISREG(there.st_mode) else (own, _LEADS_TO_HIDDEN)


_NAME = Fault(code="NAME", message="its name is not UTF-8; rename it to have it read")
_LEADS_OUT = Fault(
    code="LINK",
    message="it is a symbolic link that leads out of the archive, so it is not followed; give the"
    " folder it leads to",
)
_LEADS_NOWHERE = Fault(
    code="LINK", message="it is a symbolic link that leads nowhere; copy the file to its place"
)
_LEADS_TO_HIDDEN = Fault(
    code="LINK",
    message="it is a symbolic link to a hidden folder, so it is not followed; give that folder",
)


def _unreadable(error: OSError) -> Fault:
    reason = error.strerror or type(error).__name__
    return Fault(
        code="UNREADABLE",
        message=f"it cannot be opened ({reason}); check its permissions and the disk",
    )
