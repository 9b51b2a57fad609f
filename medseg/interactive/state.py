"""A session as plain data, for an autosave or a file beside a label map."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.editing import Edit
from medseg.interactive.marks import Mark, mark_on
from medseg.interactive.prompt import Prompt
from medseg.volume import Grid


class SavedStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change of a session.

    Parameters
    ----------
    prompt : Prompt or None
        None for a change by hand.
    reach_mm : float
        How far the prompt spoke.
    start, shape : tuple of int
        The box that changed.
    before, after : bytes
        Its labels, C order, compressed with zlib.
    """

    prompt: Prompt | None
    reach_mm: float
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    before: bytes
    after: bytes


class SessionState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a session needs to go on, beside the scan and the labels as they are.

    Parameters
    ----------
    method : str
    locked : tuple of int
    over_labels : bool
    checksum : int
        CRC-32 of the labels that belong to it.
    done, undone : tuple of SavedStep
        In effect, and taken back, in their order.
    schema_version : int, default 1
    """

    method: str
    locked: tuple[int, ...]
    over_labels: bool
    checksum: int
    done: tuple[SavedStep, ...]
    undone: tuple[SavedStep, ...]
    schema_version: int = 1


def checksum(values: npt.NDArray[Any]) -> int:
    """CRC-32 of label values, whatever their dtype and order in memory."""
    return zlib.crc32(np.ascontiguousarray(values, np.dtype("<u2")).tobytes())


@dataclass(frozen=True, eq=False)
class Step:
    """One change of a session: by a prompt, or by hand.

    Parameters
    ----------
    mark : Mark or None
        None for a change by hand.
    edit : Edit
    before : ndarray of int
        Labels of the edit's box before it.
    """

    mark: Mark | None
    edit: Edit
    before: npt.NDArray[Any]


def saved(step: Step) -> SavedStep:
    """A step as plain data."""
    i, j, k = (span.start for span in step.edit.where)
    shape_i, shape_j, shape_k = step.before.shape
    return SavedStep(
        prompt=step.mark.prompt if step.mark else None,
        reach_mm=step.mark.reach_mm if step.mark else 0.0,
        start=(i, j, k),
        shape=(shape_i, shape_j, shape_k),
        before=_packed(step.before),
        after=_packed(step.edit.values),
    )


def restored(step: SavedStep, grid: Grid, dtype: npt.DTypeLike) -> Step:
    """The step that was saved, on the same scan."""
    where = tuple(
        slice(start, start + size) for start, size in zip(step.start, step.shape, strict=True)
    )
    mark = None
    if step.prompt is not None:
        mark = replace(mark_on(grid, step.prompt), reach_mm=step.reach_mm)
    before, after = (
        np.frombuffer(zlib.decompress(content), np.dtype("<u2")).reshape(step.shape).astype(dtype)
        for content in (step.before, step.after)
    )
    return Step(mark, Edit(where, after), before)


def _packed(values: npt.NDArray[Any]) -> bytes:
    return zlib.compress(np.ascontiguousarray(values, np.dtype("<u2")).tobytes(), 1)
