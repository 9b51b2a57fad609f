"""Locked labels stay as they are under napari's own brush, eraser, bucket and polygon too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg_napari.editing.label_tables import visibility_of

if TYPE_CHECKING:
    from napari.layers import Labels

Places = tuple[npt.NDArray[Any], ...]


class LockGuard:
    """Takes back what a stroke did to locked labels, within the stroke's own step of undo."""

    def __init__(self, layer: Labels, later: Callable[[Callable[[], None]], None]) -> None:
        self._layer, self._later = layer, later
        self._waiting: list[tuple[list[Any], Places, npt.NDArray[Any]]] = []
        layer.events.paint.connect(self._on_paint)

    def release(self) -> None:
        """Stop watching."""
        self._layer.events.paint.disconnect(self._on_paint)

    def _on_paint(self, event: Any) -> None:
        locked = visibility_of(self._layer).locked
        taken = _taken(event.value, locked) if locked else None
        if taken is not None:
            self._waiting.append((event.value, *taken))
            self._later(self._put_back)

    def _put_back(self) -> None:
        """Give voxels their former values, the latest stroke first."""
        while self._waiting:
            step, places, before = self._waiting.pop()
            step.append((places, np.array(self._layer.data[places]), before))
            self._layer.data[places] = before
            self._layer.refresh()


def _taken(step: Iterable[Any], locked: Iterable[int]) -> tuple[Places, npt.NDArray[Any]] | None:
    """Voxels that a step of napari's history took from, or gave to, locked labels; their values.

    A step is a list of strokes in one of napari's two forms: ``(indices, before, after)``, or a
    box, a mask or None for all of it, the values before and the new value.
    """
    shut = list(locked)
    # the latest first: a voxel's first value is its former
    strokes = [_held(*_unpacked(stroke), shut) for stroke in reversed(list(step))]
    strokes = [(places, before) for places, before in strokes if before.size]
    if not strokes:
        return None
    columns = zip(*(places for places, _ in strokes), strict=True)
    places = tuple(np.concatenate(column) for column in columns)
    return places, np.concatenate([before for _, before in strokes])


def _unpacked(stroke: Any) -> tuple[Places, npt.NDArray[Any], Any]:
    if len(stroke) == 3:
        places, before, after = stroke
        return tuple(np.asarray(indices) for indices in places), np.asarray(before), after
    box, mask, before, after = stroke
    if mask is None:
        mask = np.ones(np.shape(before), np.bool_)
    # a box may hold plain indices, for axes that are not painted along
    starts = [span.start or 0 if isinstance(span, slice) else int(span) for span in box]
    spans = [axis for axis, span in enumerate(box) if isinstance(span, slice)]
    hits = np.nonzero(mask)
    places = [np.full(hits[0].shape, start) for start in starts]
    for axis, along in zip(spans, hits, strict=True):
        places[axis] = places[axis] + along
    return tuple(places), np.asarray(before).ravel(), after


def _held(
    places: Places, before: npt.NDArray[Any], after: Any, shut: list[int]
) -> tuple[Places, npt.NDArray[Any]]:
    held = np.isin(before, shut) | np.broadcast_to(np.isin(after, shut), before.shape)
    return tuple(indices[held] for indices in places), before[held]
