"""One change, one step back."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_napari.undo import put_values


@pytest.fixture
def layer():
    from napari.layers import Labels

    values = np.zeros((6, 7, 8), np.uint8)
    values[1:3, 2, 2] = 4
    return Labels(values.copy())


def test_a_change_of_many_values_is_one_step(layer):
    before, after = np.array(layer.data), np.array(layer.data)
    after[2:, :4], after[0, 0, 0] = 3, 1
    changed = int((before != after).sum())
    assert put_values(layer, after) == changed
    assert np.array_equal(layer.data, after)
    layer.undo()
    assert np.array_equal(layer.data, before)
    layer.redo()
    assert np.array_equal(layer.data, after)


def test_a_part_is_changed_where_it_lies(layer):
    part = (slice(2, 4), slice(1, 3), slice(5, 8))
    before = np.array(layer.data)
    assert put_values(layer, np.full((2, 2, 3), 9), where=part) == 12
    assert (layer.data[part] == 9).all()
    assert (layer.data == 9).sum() == 12
    layer.undo()
    assert np.array_equal(layer.data, before)


def test_no_change_leaves_nothing_to_undo(layer):
    put_values(layer, np.full(layer.data.shape, 2))
    assert put_values(layer, np.array(layer.data)) == 0
    layer.undo()
    assert (layer.data[1:3, 2, 2] == 4).all()


@pytest.mark.parametrize("values", [np.zeros((6, 7, 7), int), np.full((6, 7, 8), 256)])
def test_what_does_not_fit_is_an_error_and_changes_nothing(layer, values):
    before = np.array(layer.data)
    with pytest.raises(ValueError, match=r"voxels|fit"):
        put_values(layer, values)
    assert np.array_equal(layer.data, before)
