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


def stacks_below(
    root: Path,
    progress: Progress,
    on_image: Callable[[DicomFile], None] = lambda _: None,
    *,
    extra_fields: tuple[str, ...] = (),
) -> tuple[list[Stack], dict[Path, ReadError], set[Path]]:
    """Every stack below a folder, readable or not; the one walk of all that reads or lists.

    A damaged file in a stack's folder may be a slice of it: the stack is refused. An empty file is
    told in a note where the stack is even and whole without it and the file is called otherwise
    than its slices.

    Returns
    -------
    stacks : list of Stack
        In the order of their first files.
    faults : dict of Path to ReadError
        Damaged files that lie in no stack's folder; empty ones are foreign and left out.
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
    judged = [
        _beside(stack, {p: e for p, e in faults.items() if folders[stack.series_uid] in p.parents})
        for stack in stacks
    ]
    apart = {
        path: fault
        for path, fault in faults.items()
        if fault.code != EMPTY and not set(folders.values()) & set(path.parents)
    }
    return judged, apart if stacks else faults, taken


def common_folders(stacks: Iterable[Stack]) -> dict[str, Path]:
    """For each series the smallest folder that holds all of its files (or its only file)."""
    folders: dict[str, set[str]] = {}
    for stack in stacks:
        parents = {str(path.parent) for path in stack.paths}
        folders.setdefault(stack.series_uid, set()).update(parents)
    return {uid: Path(os.path.commonpath(sorted(parents))) for uid, parents in folders.items()}


def _beside(stack: Stack, faults: dict[Path, ReadError]) -> Stack:
    """A stack as what lies in its folder lets it be."""
    names = {_pattern(path.name) for path in stack.paths}
    empty = [path for path, fault in faults.items() if fault.code == EMPTY]
    lost = [path for path in empty if _pattern(path.name) in names]
    damaged = [fault for fault in faults.values() if fault.code != EMPTY]
    if stack.is_picture:
        return stack
    if damaged or lost:
        return replace(stack, refusal=damaged[0] if damaged else faults[lost[0]], grid=None)
    if not empty:
        return stack
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


def _pattern(name: str) -> str:
    """A name with its numbers left out."""
    return re.sub(r"\d+", "0", name)
