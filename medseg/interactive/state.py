"""A session as plain data, for an autosave or a file beside a label map."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.interactive.prompt import Prompt


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


def packed(values: npt.NDArray[Any]) -> bytes:
    """Labels of a box in little space."""
    return zlib.compress(np.ascontiguousarray(values, np.dtype("<u2")).tobytes(), 1)


def unpacked(content: bytes, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The labels of :func:`packed`."""
    values = np.frombuffer(zlib.decompress(content), np.dtype("<u2"))
    return values.reshape(shape).astype(dtype)
