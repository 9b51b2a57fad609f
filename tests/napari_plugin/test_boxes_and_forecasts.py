"""The box a person draws and the words before a run, without a window."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image, Shapes

from medseg.errors import GeometryError
from medseg.inference import Estimate
from medseg_napari.inference.devices import Forecast, leave_a_core_free
from medseg_napari.inference.postprocessing_texts import step_choices
from medseg_napari.inference.roi import box_of

SCAN = Image(np.zeros((20, 30, 40)), scale=(3, 1, 0.5), translate=(-7, 5, 2))


def drawn(*shapes, scale=(3, 1, 0.5), translate=(-7, 5, 2)) -> Shapes:
    corners = [np.asarray(one, float) for one in shapes]
    return Shapes(corners, ndim=3, scale=scale, translate=translate)


def bounds(box) -> list[tuple[int, int]]:
    return [(cut.start, cut.stop) for cut in box]


def test_a_rectangle_on_a_slice_with_the_slices_that_are_chosen() -> None:
    shapes = drawn([[8, 4.6, 3], [8, 4.6, 12.2], [8, 9.4, 12.2], [8, 9.4, 3]])
    assert bounds(box_of(shapes, SCAN, first=0, last=None)) == [(0, 20), (5, 10), (3, 13)]
    assert bounds(box_of(shapes, SCAN, first=6, last=9)) == [(6, 10), (5, 10), (3, 13)]


def test_a_coronal_rectangle_is_flat_along_another_axis() -> None:
    shapes = drawn([[2, 15, 3], [2, 15, 12], [9, 15, 12], [9, 15, 3]])
    assert bounds(box_of(shapes, SCAN, first=10, last=12)) == [(2, 10), (10, 13), (3, 13)]


def test_rectangles_on_two_slices_span_what_is_between_and_end_at_the_scan() -> None:
    first = [[4, -6, 3], [4, -6, 99], [4, 9, 99], [4, 9, 3]]
    second = [[11, 2, 3], [11, 2, 7], [11, 5, 7], [11, 5, 3]]
    box = box_of(drawn(first, second), SCAN, first=0, last=None)
    assert bounds(box) == [(4, 12), (0, 10), (3, 40)]


def test_a_shapes_layer_of_another_scale_lies_where_it_is_seen() -> None:
    shapes = drawn(
        [[17, 15, 5], [17, 15, 12], [17, 25, 12], [17, 25, 5]], scale=(1,) * 3, translate=(0,) * 3
    )
    assert bounds(box_of(shapes, SCAN, first=8, last=8)) == [(8, 9), (10, 21), (6, 21)]


@pytest.mark.parametrize(
    ("shapes", "first", "last", "words"),
    [
        (drawn(), 0, None, "holds no shape yet"),
        (drawn([[8, 40, 3], [8, 40, 9], [8, 50, 9], [8, 50, 3]]), 0, None, "no voxel of the scan"),
        (drawn([[8, 4, 3], [8, 4, 9], [8, 9, 9], [8, 9, 3]]), 12, 5, "lower to a higher"),
    ],
)
def test_a_box_without_voxels_is_told(shapes, first, last, words) -> None:
    with pytest.raises(GeometryError, match=words):
        box_of(shapes, SCAN, first=first, last=last)


def test_a_forecast_in_words() -> None:
    estimate = Estimate(tiles=48, seconds=130, device_bytes=3_000_000_000, main_bytes=10**9)
    cpu = Forecast(estimate, True, 8 * 10**9, 8 * 10**9)
    assert cpu.fits
    assert cpu.text == "About 2 min for 48 tiles; needs about 4.0 GB of memory, 8.0 GB are free."
    small = Forecast(estimate, True, 3_500_000_000, 3_500_000_000)
    assert "too little" in small.text
    assert "a box needs less" in small.text
    gpu = Forecast(estimate, False, 2_500_000_000, 60 * 10**9)
    assert not gpu.fits
    assert "needs about 3.0 GB of the GPU's memory, 2.5 GB are free: too little" in gpu.text


def test_every_step_is_offered_with_its_settings() -> None:
    steps = {step.name: step for step in step_choices()}
    assert {"crf", "components", "holes", "minimum_volume"} <= set(steps)
    assert steps["minimum_volume"].text == "minimum volume"
    assert "smallest_mm3 10.0" in steps["minimum_volume"].settings
    assert "labels all" in steps["holes"].settings


def test_one_core_is_left_to_the_window() -> None:
    import os

    import torch

    before = torch.get_num_threads()
    try:
        leave_a_core_free()
        assert 1 <= torch.get_num_threads() <= max(1, len(os.sched_getaffinity(0)) - 1)
    finally:
        torch.set_num_threads(before)
