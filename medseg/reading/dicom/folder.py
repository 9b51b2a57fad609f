"""A folder of DICOM: its stacks, and what damaged and empty files beside them mean for these."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import InputError, ReadError
from medseg.reading.dicom.headers import EMPTY, DicomFile, find_images
from medseg.reading.dicom.stacks import Stack, stacks_of
from medseg.runtime.progress import Progress

UNCERTAIN = "a file in its folder cannot be read; it may be one of its slices or of another series"
"""The note on a stack beside which a damaged file lies, and other series."""


def stacks_below(
    root: Path,
    progress: Progress,
    on_image: Callable[[DicomFile], None] = lambda _: None,
    *,
    extra_fields: tuple[str, ...] = (),
) -> tuple[list[Stack], dict[Path, ReadError], set[Path]]:
    """Every stack below a folder, readable or not; the one walk of all that reads or lists.

    A damaged file in a series' folder may be a slice of it: its stacks are refused. Where several
    series lie around it, each is read with a note. So it is with an empty file that is called as
    slices are; any other is foreign, and told in a note where a stack is even and whole without it.

    Returns
    -------
    stacks : list of Stack
        In the order of their first files.
    faults : dict of Path to ReadError
        Damaged files that lie in no series' folder, or in that of several.
    taken : set of Path
        The files of all images, and damaged ones.
    """
    images, faults = find_images(root, progress, on_image, extra_fields=extra_fields)
    stacks = stacks_of(images)
    taken = {image.path for image in images}
    if not faults:
        return stacks, {}, taken
    taken |= {path for path, fault in faults.items() if fault.code != EMPTY}
    folders = common_folders(stacks)
    around = {
        path: [uid for uid, folder in folders.items() if folder in path.parents] for path in faults
    }
    judged = []
    for stack in stacks:
        near = {path: fault for path, fault in faults.items() if stack.series_uid in around[path]}
        shared = {path for path in near if len(around[path]) > 1}
        judged.append(_beside(stack, near, shared))
    apart = {
        path: fault
        for path, fault in faults.items()
        if fault.code != EMPTY and len(around[path]) != 1
    }
    return judged, apart if stacks else faults, taken


def common_folders(stacks: Iterable[Stack]) -> dict[str, Path]:
    """For each series the smallest folder that holds all of its files (or its only file)."""
    folders: dict[str, set[str]] = {}
    for stack in stacks:
        parents = {str(path.parent) for path in stack.paths}
        folders.setdefault(stack.series_uid, set()).update(parents)
    return {uid: Path(os.path.commonpath(sorted(parents))) for uid, parents in folders.items()}


def _beside(stack: Stack, faults: dict[Path, ReadError], shared: set[Path]) -> Stack:
    """A stack as what lies in its folder lets it be; of `shared`, other series are too."""
    if stack.is_picture or not faults:
        return stack
    names = {name_pattern(path.name) for path in stack.paths}
    suspects = [
        path
        for path, fault in faults.items()
        if fault.code != EMPTY or name_pattern(path.name) in names
    ]
    own = [path for path in suspects if path not in shared]
    empty = [path for path in faults if path not in suspects]
    if own:
        return replace(stack, refusal=faults[own[0]], grid=None)
    if suspects:
        stack = replace(stack, notes=(*stack.notes, UNCERTAIN))
    return _beside_empty(stack, empty) if empty else stack


def _beside_empty(stack: Stack, empty: Sequence[Path]) -> Stack:
    """A stack beside empty files that are called otherwise than its slices."""
    listing = _names(empty)
    if stack.refusal is None:
        note = f"{listing} beside it: empty, and passed over since the slices are whole"
        return replace(stack, notes=(*stack.notes, note))
    if stack.refusal.code != "MISSING_SLICE":
        return stack
    message = f"{stack.refusal}; {listing} beside it is empty and may be what is left of a slice"
    return replace(stack, refusal=_like(stack.refusal, message))


def _like(error: InputError, message: str) -> InputError:
    return type(error)(message, code=error.code)


def _names(paths: Sequence[Path]) -> str:
    first = paths[0].name
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def name_pattern(name: str) -> str:
    """A file's name with its numbers left out: what slices of one series have in common."""
    return re.sub(r"\d+", "0", name)
