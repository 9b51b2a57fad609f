"""Streaming must give what holding everything at once gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.inference.blending import gaussian
from medseg.inference.streaming import LabelStream, LogitsWindow
from medseg.inference.tiling import axis_starts, tile_starts

SIZES = st.tuples(*[st.integers(4, 24)] * 3)


@given(st.integers(1, 300), st.integers(1, 100), st.floats(0, 0.9))
def test_tiles_cover_every_voxel_with_the_overlap_asked_for(size, tile, overlap):
    starts = axis_starts(size, tile, overlap)
    assert starts[0] == 0
    if size > tile:
        assert starts[-1] == size - tile
        steps = np.diff(starts)
        assert steps.min() > 0
        assert steps.max() <= max(np.ceil(tile * (1 - overlap)), 1)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.tuples(*[st.integers(3, 9)] * 3), st.integers(0, 99))
def test_streamed_labels_are_argmax_of_interpolated_logits(shape, home, tile, seed):
    tile = tuple(min(t, n) for t, n in zip(tile, shape, strict=True))
    torch.manual_seed(seed)
    weight = gaussian(tile, torch.device("cpu"))
    window, stream = LogitsWindow(4, shape, weight), LabelStream(shape, home)
    total, mass = torch.zeros(4, *shape), torch.zeros(shape)
    for start in tile_starts(shape, tile, 0.5):
        logits = torch.randn(4, *tile)
        place = tuple(slice(s, s + n) for s, n in zip(start, tile, strict=True))
        total[(slice(None), *place)] += logits * weight
        mass[place] += weight
        if start[0] > window.first:
            stream.feed(window.advance(start[0]))
        window.add(logits, start)
    stream.feed(window.advance(shape[0]))
    grown = torch.nn.functional.interpolate((total / mass)[None], size=home, mode="trilinear")[0]
    top = grown.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-3).numpy()
    assert np.array_equal(stream.classes[clear], grown.argmax(0).numpy()[clear])
    assert clear.mean() > 0.95


def test_the_window_is_all_that_is_held():
    weight = gaussian((8, 16, 16), torch.device("cpu"))
    window = LogitsWindow(3, (400, 16, 16), weight)
    assert window.sum_LIJK.shape == (3, 8, 16, 16)


@pytest.mark.parametrize("tile", [(4, 8, 16), (5, 5, 5)])
def test_weights_are_symmetric_and_never_zero(tile):
    weight = gaussian(tile, torch.device("cpu"))
    assert torch.equal(weight, weight.flip((0, 1, 2)))
    assert weight.min() > 0
