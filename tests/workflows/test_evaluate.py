"""Scores of one case in Python."""

from __future__ import annotations

import numpy as np
import pytest

from medseg import LabelMap, evaluate
from medseg.errors import GeometryError, LabelError

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
TRUTH = np.zeros((10, 10, 10), np.uint8)
TRUTH[2:6, 2:6, 2:6], TRUTH[7:9, 7:9, 7:9] = 1, 2
NAMES = {1: "liver", 2: "spleen"}


def labels(array, names=None, affine=AFFINE):
    return LabelMap.from_array(array, affine, names or NAMES)


def test_scores_by_hand():
    moved = np.where(TRUTH == 1, 0, TRUTH)
    moved[3:7, 2:6, 2:6] = 1  # 48 of 64 voxels shared
    scores = evaluate(labels(moved), labels(TRUTH))
    assert scores["liver"]["dice"] == pytest.approx(0.75)
    assert scores["liver"]["iou"] == pytest.approx(48 / 80)
    assert scores["liver"]["volume_ml"] == pytest.approx(0.128)
    assert scores["spleen"] | {"nsd": 1.0, "hd95_mm": 0.0, "dice": 1.0} == scores["spleen"]
    assert "nsd" not in evaluate(labels(moved), labels(TRUTH), tolerance_mm=None)["liver"]


def test_names_go_before_numbers():
    swapped = np.array([0, 2, 1], np.uint8)[TRUTH]
    scores = evaluate(labels(swapped, {1: "spleen", 2: "liver"}), labels(TRUTH))
    assert [score["dice"] for score in scores.values()] == [1.0, 1.0]


def test_a_label_that_only_the_prediction_has_is_scored():
    more = TRUTH.copy()
    more[0, 0, 0] = 3
    scores = evaluate(labels(more, {**NAMES, 3: "kidney"}), labels(TRUTH))
    assert scores["kidney"]["dice"] == 0.0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(LabelError, match=r"box, core.*liver, spleen"):
        evaluate(labels(TRUTH, {1: "box", 2: "core"}), labels(TRUTH))
    with pytest.raises(GeometryError, match="different grids"):
        evaluate(labels(TRUTH, affine=np.eye(4)), labels(TRUTH))
