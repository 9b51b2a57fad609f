"""Whatever napari's own tools do, locked labels stay, and undo goes back to before the stroke."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Labels

from medseg_napari.editing.label_locks import LockGuard
from medseg_napari.editing.label_tables import set_locked


@pytest.fixture
def layer():
    values = np.zeros((6, 20, 20), np.uint8)
    values[:, 5:12, 5:12] = 1
    values[:, 12:18, 5:12] = 2
    layer = Labels(values)
    set_locked(layer, 1, locked=True)
    return layer


STROKES = {
    "brush": lambda layer: layer.paint((3, 8, 8), 2),
    "ball": lambda layer: (setattr(layer, "n_edit_dimensions", 3), layer.paint((3, 10, 8), 3)),
    "eraser": lambda layer: layer.paint((3, 8, 8), 0),
    "growing the locked one": lambda layer: layer.paint((3, 14, 8), 1),
    "bucket over it": lambda layer: layer.fill((3, 8, 8), 4),
    "bucket of it": lambda layer: layer.fill((3, 14, 8), 1),
    "polygon": lambda layer: layer.paint_polygon([(3, 2, 2), (3, 2, 18), (3, 18, 18)], 5),
}


@pytest.mark.parametrize("stroke", STROKES.values(), ids=STROKES)
def test_a_stroke_leaves_locked_labels_and_is_one_step(layer, stroke) -> None:
    asked = []
    guard = LockGuard(layer, asked.append)
    before = np.array(layer.data)
    layer.brush_size = 9
    with layer.block_history():
        stroke(layer)
    while asked:
        asked.pop(0)()
    after = np.array(layer.data)
    assert np.array_equal(after == 1, before == 1)
    layer.undo()
    assert np.array_equal(layer.data, before)
    layer.redo()
    assert np.array_equal(layer.data, after)
    layer.undo()
    guard.release()
    stroke(layer)
    assert not np.array_equal(np.asarray(layer.data) == 1, before == 1)


def test_what_is_free_is_painted(layer) -> None:
    asked = []
    guard = LockGuard(layer, asked.append)
    layer.brush_size = 9
    layer.paint((3, 12, 8), 3)
    for back in asked:
        back()
    guard.release()
    assert (layer.data == 3).sum() > 20
    assert (layer.data == 1).sum() == 6 * 49
    assert (layer.data == 2).sum() < 6 * 42
    layer.undo()
    assert (layer.data == 2).sum() == 6 * 42
