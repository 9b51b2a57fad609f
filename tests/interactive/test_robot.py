"""The robot that clicks: where the largest error is deepest, for or against as the truth says."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.interactive import RobotUser
from medseg.volume import Grid

GRID = Grid((20, 20, 9), np.diag([1.0, 1, 2, 1]))


@pytest.fixture
def truth():
    truth = np.zeros(GRID.shape, bool)
    truth[2:9, 2:9, 2:7] = True
    return truth


def test_the_middle_of_the_largest_error_is_clicked(truth):
    prompt = RobotUser(truth, GRID, 4).click(np.zeros_like(truth))
    assert GRID.to_index(prompt.points_mm[0]).tolist() == [5, 5, 4]
    assert prompt.positive
    assert prompt.label == 4


def test_a_larger_piece_that_is_too_much_is_clicked_against(truth):
    mask = truth.copy()
    mask[3, 3, 3] = False
    mask[12:19, 12:19, :] = True
    prompt = RobotUser(truth, GRID, 1).click(mask)
    assert GRID.to_index(prompt.points_mm[0]).tolist() == [15, 15, 4]
    assert not prompt.positive


def test_a_mask_that_is_right_needs_no_click(truth):
    assert RobotUser(truth, GRID, 1).click(truth) is None


def test_the_other_robot_misses_the_middle_tells_the_truth_and_repeats_itself(truth):
    nothing = np.zeros_like(truth)
    robots = [RobotUser(truth, GRID, 1, jitter=3) for _ in range(2)]
    clicks = [[robot.click(nothing) for _ in range(40)] for robot in robots]
    assert clicks[0] == clicks[1]
    voxels = [tuple(GRID.to_index(p.points_mm[0]).astype(int)) for p in clicks[0]]
    assert len(set(voxels)) > 10
    assert [p.positive for p in clicks[0]] == [bool(truth[voxel]) for voxel in voxels]


def test_a_truth_of_another_shape_is_refused(truth):
    with pytest.raises(InputError, match="does not fit"):
        RobotUser(truth[1:], GRID, 1)
