"""The files below a folder, with size and time of change: all that an unchanged archive costs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medseg.errors import ReadError
from medseg.runtime.progress import Progress
from medseg_pipelines.batch.archive.case_keys import listing_digest
from medseg_pipelines.batch.messages import Fault

Entry = tuple[bytes, int, int]
"""A file's name, its size in bytes, and when it changed, in ns."""

OUTPUT_MARK = b".medseg"
_TOLD_EVERY = 256


class Listed(NamedTuple):
    """What is remembered of a folder's files, of which there may be hundreds of millions."""

    digest: str  # over their names, sizes and times of change
    number: int


@dataclass
class Tree:
    """What was found, by paths from the root as the file system has them."""

    root: bytes  # absolute, without symbolic links
    only: bytes = b""  # the file that is all there is; empty when there are folders
    folders: dict[bytes, Listed] = field(default_factory=dict)
    faults: dict[bytes, Fault] = field(default_factory=dict)  # not looked into, or leads elsewhere
    suspects: set[bytes] = field(default_factory=set)  # faults that may be files
    closed: set[bytes] = field(default_factory=set)  # faults that are folders, unknown now
    mixed: set[bytes] = field(default_factory=set)  # folders with what is not only their own

    def path(self, folder: bytes, name: bytes = b"") -> Path:
        """The absolute path of a file or folder of the tree."""
        return Path(os.fsdecode(joined(joined(self.root, folder), name)))

    def files(self, folder: bytes) -> list[Entry]:
        """The regular files of a folder as they are now, sorted by name."""
        files, _ = _look(self, folder)
        return [entry for entry in files if self.only in (b"", entry[0])]

    def mark_unreadable(
        self, folder: bytes, name: bytes, fault: Fault, *, is_file: bool = True
    ) -> None:
        """Take down what is wrong with something in a folder."""
        path = joined(folder, name)
        self.faults[path] = fault
        self.mixed.add(folder)
        if is_file:
            self.suspects.add(path)

    def is_closed(self, folder: bytes) -> bool:
        """Whether a folder, or one around it, could not be opened."""
        return bool(self.closed) and any(
            folder == one or folder.startswith(one + b"/") or not one for one in self.closed
        )


def joined(folder: bytes, name: bytes) -> bytes:
    """The path of what lies in a folder; either may be empty."""
    return folder.rstrip(b"/") + b"/" + name if folder and name else folder or name


def walk(root: Path, *, progress: Progress) -> Tree:
    """List a folder at any depth, or a single file as if nothing lay beside it.

    Hidden files and folders, and folders that hold results of a batch, are passed over. Of
    symbolic links only those to a hidden file inside of the root are followed; what else lies
    inside is found without them. Raises `ReadError` when `root` cannot be listed.
    """
    base = os.fsencode(root.resolve())
    if root.is_file():
        folder, _, name = base.rpartition(b"/")
        tree = Tree(folder or b"/", name, mixed={b""})
        tree.folders[b""] = _listed(tree.files(b""))
        return Tree(folder or b"/", name, tree.folders, mixed={b""})
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
        files, inner = _look(tree, folder)
        waiting += inner
        if files:
            tree.folders[folder] = _listed(files)
        done += 1
        if done % _TOLD_EVERY == 0 or not waiting:
            progress(done, done + len(waiting), "looking through folders")
    return tree


def _listed(files: list[Entry]) -> Listed:
    return Listed(listing_digest(files), len(files))


def _look(tree: Tree, folder: bytes) -> tuple[list[Entry], list[bytes]]:
    """The files of a folder, sorted by name, and the folders in it."""
    files: list[Entry] = []
    inner: list[bytes] = []
    try:
        with os.scandir(joined(tree.root, folder)) as entries:
            for entry in entries:
                name = entry.name
                if name[:1] == b".":
                    if folder and name == OUTPUT_MARK:
                        return [], []
                    continue
                mode = _take(tree, folder, entry, files)
                if stat.S_ISDIR(mode):
                    inner.append(joined(folder, name))
    except FileNotFoundError:  # it went while we were on the way
        return [], []
    except OSError as error:
        tree.faults[folder] = unreadable(error)
        tree.closed.add(folder)
    files.sort()
    return files, inner


def _take(tree: Tree, folder: bytes, entry: os.DirEntry[bytes], files: list[Entry]) -> int:
    """Add an entry to the files, if it is one; its mode, or 0 when it shall not be entered."""
    name = entry.name
    try:
        if not name.isascii():
            name.decode()
        seen = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(seen.st_mode):
            seen = _behind(tree, folder, entry)
        if stat.S_ISREG(seen.st_mode):
            files.append((name, seen.st_size, seen.st_mtime_ns))
        elif not stat.S_ISDIR(seen.st_mode):
            tree.mixed.add(folder)
    except UnicodeDecodeError:
        is_file = not entry.is_dir(follow_symlinks=False)
        tree.mark_unreadable(folder, name, _NAME, is_file=is_file)
        return 0
    except FileNotFoundError:
        return 0
    except OSError as error:
        tree.mark_unreadable(folder, name, unreadable(error))
        return 0
    return seen.st_mode


def _behind(tree: Tree, folder: bytes, entry: os.DirEntry[bytes]) -> os.stat_result:
    """What stands for a symbolic link: the hidden file it leads to, else the link itself."""
    own = entry.stat(follow_symlinks=False)
    target = os.path.realpath(entry.path)
    there = Path(os.fsdecode(target))
    if target != tree.root and not target.startswith(tree.root.rstrip(b"/") + b"/"):
        tree.mark_unreadable(folder, entry.name, _LEADS_OUT, is_file=not there.is_dir())
    elif not there.exists():
        tree.mark_unreadable(folder, entry.name, _LEADS_NOWHERE)
    elif b"/." in target[len(tree.root.rstrip(b"/")) :]:
        if there.is_file():
            return there.stat()
        tree.mark_unreadable(folder, entry.name, _LEADS_TO_HIDDEN, is_file=False)
    return own  # what lies elsewhere in the archive is found there


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


def unreadable(error: Exception) -> Fault:
    """The fault of what the system does not let us open."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return Fault(
        code="UNREADABLE",
        message=f"it cannot be opened ({reason}); check its permissions and the disk",
    )
