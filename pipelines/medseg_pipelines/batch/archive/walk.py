"""The files below a folder, with size and time of change: all that an unchanged archive costs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import ReadError
from medseg.runtime.progress import Progress
from medseg_pipelines.batch.archive.case_keys import listing_digest
from medseg_pipelines.batch.messages import Fault

Entry = tuple[bytes, int, int]
"""A file's name, its size in bytes, and when it changed, in ns."""

OUTPUT_MARK = b".medseg"
_PROGRESS_EVERY = 256  # folders


@dataclass
class Tree:
    """A walked folder, by paths from the root as the file system has them."""

    root: bytes  # absolute, without symbolic links
    only: bytes = b""  # the file that is all there is; empty when there are folders
    # Of a folder's files the digest over names, sizes and times, and how many there are: that is
    # little to remember, for there may be hundreds of millions of files.
    folders: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    faults: dict[bytes, Fault] = field(default_factory=dict)  # not looked into, or leads elsewhere
    suspects: set[bytes] = field(default_factory=set)  # faults that may be files
    closed: set[bytes] = field(default_factory=set)  # faults that are folders, unknown now
    mixed: set[bytes] = field(default_factory=set)  # folders with what is not only their own

    def path(self, folder: bytes, name: bytes = b"") -> Path:
        """The absolute path of a file or folder of the tree."""
        return Path(os.fsdecode(joined(joined(self.root, folder), name)))

    def look(self, folder: bytes) -> tuple[list[Entry], list[bytes]]:
        """The regular files of a folder as they are now, sorted by name, and the folders in it."""
        files: list[Entry] = []
        inner: list[bytes] = []
        try:
            with os.scandir(joined(self.root, folder)) as entries:
                for entry in entries:
                    name = entry.name
                    if folder and name == OUTPUT_MARK:
                        return [], []
                    is_hidden = name[:1] == b"." or self.only not in (b"", name)
                    status = None if is_hidden else self._status(folder, entry)
                    if status and stat.S_ISREG(status.st_mode):
                        files.append((name, status.st_size, status.st_mtime_ns))
                    elif status and stat.S_ISDIR(status.st_mode):
                        inner.append(joined(folder, name))
                    elif status:
                        self.mixed.add(folder)
        except FileNotFoundError:  # it went while we were on the way
            return [], []
        except OSError as error:
            self.faults[folder] = unreadable(error)
            self.closed.add(folder)
        return sorted(files), inner

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
        return any(
            not closed or folder == closed or folder.startswith(closed + b"/")
            for closed in self.closed
        )

    def _status(self, folder: bytes, entry: os.DirEntry[bytes]) -> os.stat_result | None:
        """Status of an entry, of a link to a hidden file that file's; None when it is passed by."""
        try:
            entry.name.decode()
            status = entry.stat(follow_symlinks=False)
            return self._behind(folder, entry) if stat.S_ISLNK(status.st_mode) else status
        except UnicodeDecodeError:
            is_file = not entry.is_dir(follow_symlinks=False)
            self.mark_unreadable(folder, entry.name, _NAME, is_file=is_file)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.mark_unreadable(folder, entry.name, unreadable(error))
        return None

    def _behind(self, folder: bytes, entry: os.DirEntry[bytes]) -> os.stat_result:
        """What stands for a symbolic link: the hidden file it leads to, else the link itself."""
        target, base = os.path.realpath(entry.path), self.root.rstrip(b"/")
        there = Path(os.fsdecode(target))
        if target != self.root and not target.startswith(base + b"/"):
            self.mark_unreadable(folder, entry.name, _LEADS_OUT, is_file=not there.is_dir())
        elif not there.exists():
            self.mark_unreadable(folder, entry.name, _LEADS_NOWHERE)
        elif b"/." in target[len(base) :]:
            if there.is_file():
                return there.stat()
            self.mark_unreadable(folder, entry.name, _LEADS_TO_HIDDEN, is_file=False)
        return entry.stat(follow_symlinks=False)  # what lies elsewhere in the archive is met there


def joined(folder: bytes, name: bytes) -> bytes:
    """The path of what lies in a folder; either may be empty."""
    return folder.rstrip(b"/") + b"/" + name if folder and name else folder or name


def walk(root: Path, *, progress: Progress) -> Tree:
    """List a folder at any depth, or a single file as if nothing lay beside it.

    Hidden files and folders, and folders that hold results of a batch, are passed over. Of
    symbolic links only those to a hidden file inside of the root are followed; what else lies
    inside is met without them. Raises `ReadError` when `root` cannot be listed.
    """
    base, only = os.fsencode(root.resolve()), b""
    if root.is_file():
        base, _, only = base.rpartition(b"/")
    try:
        os.scandir(base or b"/").close()
    except OSError as error:
        raise ReadError(
            f"'{root}' is no folder that can be listed ({error.strerror}); check the path",
            code="NOT_FOUND",
        ) from error
    tree = Tree(base or b"/", only, mixed={b""} if only else set())
    waiting, done = [b""], 0
    while waiting:
        folder = waiting.pop()
        files, inner = tree.look(folder)
        waiting += inner
        if files:
            tree.folders[folder] = listing_digest(files), len(files)
        done += 1
        if done % _PROGRESS_EVERY == 0 or not waiting:
            progress(done, done + len(waiting), "looking through folders")
    return tree


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
