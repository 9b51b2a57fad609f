"""A prediction whose axes run another way than the truth's, every voxel at its place."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.volume import LabelMap
from medseg.workflows.evaluate import evaluate

AFFINE = np.array([[-0.6, 0, 0, 21], [0, -0.9, 0, 17], [0, 0, 3.5, -8], [0, 0, 0, 1.0]])
VALUES = np.zeros((6, 5, 4), np.uint8)
VALUES[1:4, 2:4, 1:3] = 1


def test_axes_reversed_and_exchanged_are_the_same_place():
    turned = AFFINE.copy()
    turned[:, 3] += AFFINE[:, 0] * 5
    turned[:, :2] = np.stack([AFFINE[:, 1], -AFFINE[:, 0]], axis=1)
    moved = VALUES[::-1].transpose(1, 0, 2)
    truth = LabelMap.from_array(VALUES, AFFINE, {1: "liver"})
    prediction = LabelMap.from_array(moved, turned, {1: "liver"})
    assert evaluate(prediction, truth)["liver"]["dice"] == 1.0


def test_voxels_elsewhere_are_still_refused():
    shifted = AFFINE.copy()
    shifted[0, 3] += 1.0
    with pytest.raises(GeometryError):
        evaluate(
            LabelMap.from_array(VALUES, shifted, {1: "liver"}),
            LabelMap.from_array(VALUES, AFFINE, {1: "liver"}),
        )
