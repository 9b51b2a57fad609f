"""A prediction whose axes run another way than the truth's, every voxel at its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.volume.scan import Provenance
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


def seg_of(labels, first, last):
    """A map as a DICOM SEG is read that leaves out empty slices."""
    cut = labels.grid.cropped((slice(0, 4), slice(0, 5), slice(first, last)))
    source = Provenance(format="dicom-seg")
    return LabelMap(labels.values[:, :, first:last], cut, labels.table, source)


def in_the_middle():
    values = np.zeros((4, 5, 9), np.uint8)
    values[1:3, 1:4, 3:6] = 1
    affine = np.array([[0, 2, 0, 5], [-1, 0, 0, 7], [0, 0, 3, -4], [0, 0, 0, 1.0]])
    return LabelMap(values, Grid(values.shape, affine), LabelTable.of({1: "organ"}))


@pytest.mark.parametrize(
    ("predicted", "true"), [((3, 6), None), (None, (3, 6)), ((3, 6), (2, 8)), ((1, 6), (3, 7))]
)
def test_empty_slices_that_a_seg_leaves_out_are_background(predicted, true):
    whole = in_the_middle()
    prediction = seg_of(whole, *predicted) if predicted else whole
    truth = seg_of(whole, *true) if true else whole
    assert evaluate(prediction, truth)["organ"]["dice"] == 1.0


def test_only_segs_leave_out_slices_and_only_at_their_places():
    whole = in_the_middle()
    part = seg_of(whole, 3, 6)
    affine = part.grid.affine.copy()
    affine[2, 3] += 0.4
    moved = replace(part, grid=Grid(part.grid.shape, affine))
    for prediction in (replace(part, provenance=Provenance(format="nifti")), moved):
        with pytest.raises(GeometryError):
            evaluate(prediction, whole)
