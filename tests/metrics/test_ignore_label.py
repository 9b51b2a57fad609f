"""Voxels labelled "ignore" in the truth change no number, whatever was predicted there."""

import numpy as np
import pytest

from medseg.metrics import overlap, surface_distances
from medseg.metrics.ignore import leave_out_ignored
from medseg.volume import Grid, LabelMap, LabelTable

GRID = Grid((12, 10, 8), np.diag([1.0, 2.0, 3.0, 1.0]))
TABLE = LabelTable.of({1: "liver", 2: "cyst", 3: "ignore"})
PLAIN = LabelTable.of({1: "liver", 2: "cyst"})


@pytest.fixture
def maps():
    true = np.zeros(GRID.shape, np.uint8)
    true[2:9, 2:8, 2:6] = 1
    true[4:6, 4:6, 3:5] = 2
    true[:, :, 5:] = 3
    predicted = np.roll(true, 1, 0)
    predicted[true == 3] = 1
    return LabelMap(predicted, GRID, TABLE), LabelMap(true, GRID, TABLE)


@pytest.mark.parametrize("measure", [overlap, surface_distances])
def test_as_if_the_voxels_were_not_there(maps, measure):
    prediction, truth = maps
    blank = [np.where(truth.values == 3, 0, one.values).astype(np.uint8) for one in maps]
    wanted = measure(LabelMap(blank[0], GRID, PLAIN), LabelMap(blank[1], GRID, PLAIN))
    found = measure(prediction, truth)
    assert list(found) == ["liver", "cyst"]
    assert found == wanted


def test_maps_without_ignored_voxels_are_not_copied(maps):
    prediction = LabelMap(np.zeros(GRID.shape, np.uint8), GRID, PLAIN)
    assert leave_out_ignored(prediction, prediction) == (prediction, prediction)
    assert maps[1].table.ignored == 3
    assert maps[1].table.structures.names == ("liver", "cyst")
