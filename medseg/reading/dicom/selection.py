"""Which of several stacks: chosen by the user, never guessed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import ReadError, SelectionError
from medseg.reading.dicom.planar import is_cine
from medseg.reading.dicom.stacks import Stack


def choose(stacks: Sequence[Stack], series: str | None, path: Path) -> tuple[Stack, list[str]]:
    """The stack to read.

    Returns
    -------
    stack : Stack
    notes : list of str
        That pictures without a place in the patient were passed over.

    Raises
    ------
    ReadError
        When there is no stack.
    SelectionError
        When `series` is None and there are several, or it matches none or several.
    """
    if not stacks:
        raise ReadError(
            f"there is no DICOM image in '{path}'; check the path (of other formats give one file)",
            code="NO_IMAGES",
        )
    if series is not None:
        return _matching(stacks, series.strip()), []
    volumes = [stack for stack in stacks if not stack.is_picture] or list(stacks)
    if len(volumes) > 1:
        raise SelectionError(
            f"'{path}' holds {len(stacks)} series; choose one with --series and its number or UID:"
            + _listing(stacks)
        )
    others = len(stacks) - 1
    return volumes[0], [f"{others} other image(s) without a place were left out"] if others else []


def _matching(stacks: Sequence[Stack], series: str) -> Stack:
    """The stack that `series` names: by number, by selector, or by the beginning of one."""
    if series.isdigit() and 1 <= int(series) <= len(stacks):
        return stacks[int(series) - 1]
    exact = [stack for stack in stacks if stack.selector == series]
    of_series = [stack for stack in stacks if stack.series_uid == series]
    by_prefix = [stack for stack in stacks if series and stack.selector.startswith(series)]
    matches = exact or of_series or by_prefix
    if len(matches) == 1:
        return matches[0]
    problem = f"matches {len(matches)} of the series" if matches else "is none of the series"
    raise SelectionError(
        f"'{series}' {problem}; choose one with --series and its number or UID:" + _listing(stacks)
    )


def _listing(stacks: Sequence[Stack]) -> str:
    """One line per stack, numbered from 1; one for all the frames of a cine."""
    lines = []
    for _, run in itertools.groupby(enumerate(stacks, start=1), key=_cine_of):
        (number, first), *more = run
        numbers = f"{number} to {more[-1][0]}" if more else f"{number}"
        frames = f", frames 1 to {len(more) + 1} of a cine" if more else ""
        lines.append(f"\n  {numbers}  {first.describe()}{frames}")
    return "".join(lines)


def _cine_of(numbered: tuple[int, Stack]) -> object:
    """What the frames of a cine have in common and no other stack has."""
    number, stack = numbered
    file = stack.frames[0].file
    return file if is_cine(file) else number
