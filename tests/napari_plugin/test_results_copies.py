"""A result in the viewer costs one copy of its voxels on the GUI thread, not four."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Layer

from medseg.volume import Grid, LabelMap, LabelTable
from medseg_napari.inference.results import ResultLayers
from medseg_napari.inference.run import Outcome
from medseg_napari.layers import layer_from_labels
from medseg_napari.run_record import checksum

SHAPE = (6, 8, 10)
HALF = (slice(0, 3), slice(0, 8), slice(0, 10))


def result(value: int, roi=None) -> Outcome:
    values = np.full(SHAPE, value, np.uint8)
    labels = LabelMap(values, Grid(SHAPE, np.diag([1, 1, 1, 1])), LabelTable.of({value: "liver"}))
    return Outcome(layer_from_labels(labels, "result"), roi=roi)


def test_a_result_of_its_own_is_copied_once() -> None:
    results = ResultLayers(ViewerModel())
    pending = results.add(result(1), None, "overwrite")
    assert pending.before.strides == (0, 0, 0)
    assert not np.shares_memory(pending.after, pending.layer.data)
    assert results._results[pending.layer] is pending.after


def test_a_merged_result_is_not_copied_again_and_boxes_are_written_into_it() -> None:
    viewer = ViewerModel()
    results = ResultLayers(viewer)
    target = viewer.add_layer(Layer.create(*result(1).labels))
    pending = results.add(result(1), target, "overwrite")
    kept = results._results[target]
    assert kept is pending.after
    target.data[0, 0, 0] = 0
    pending = results.add(result(1, HALF), target, "keep_edits")
    assert results._results[target] is kept
    assert target.data[0, 0, 0] == 0, "what was edited stays"
    results.undo(pending)
    assert target.data[0, 0, 0] == 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_checksum_is_that_of_all_values_as_16_bits(order) -> None:
    values = np.asarray(np.arange(480).reshape(SHAPE) % 251, np.uint8, order=order)
    import zlib

    assert checksum(values) == zlib.crc32(np.ascontiguousarray(values, np.uint16).data)
    assert checksum(values[..., ::2]) != checksum(values)
