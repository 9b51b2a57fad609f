"""Streaming must give what holding everything at once gives."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.inference import label_blocks
from medseg.inference.streaming_argmax import RollingAccumulator, StreamingArgmax
from medseg.inference.tile_weights import gaussian
from medseg.inference.tiling import axis_starts, tile_starts


def feed_all(stream, rows):
    for logits in rows:
        stream.feed(logits)


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
    window, stream = RollingAccumulator(4, shape, weight), StreamingArgmax(shape, home)
    total, mass = torch.zeros(4, *shape), torch.zeros(shape)
    for start in tile_starts(shape, tile, 0.5):
        logits = torch.randn(4, *tile)
        place = tuple(slice(s, s + n) for s, n in zip(start, tile, strict=True))
        total[(slice(None), *place)] += logits * weight
        mass[place] += weight
        if start[0] > window.first:
            feed_all(stream, window.advance(start[0]))
        window.add(logits, start)
    feed_all(stream, window.advance(shape[0]))
    grown = torch.nn.functional.interpolate((total / mass)[None], size=home, mode="trilinear")[0]
    top = grown.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-3).numpy()
    assert np.array_equal(stream.classes[clear], grown.argmax(0).numpy()[clear])
    assert clear.mean() > 0.95


@settings(max_examples=20, deadline=None)
@given(SIZES, SIZES, st.booleans(), st.sampled_from([3, 5, 64]), st.integers(0, 99))
def test_labels_do_not_depend_on_blocks_and_on_what_cannot_win_there(
    shape, home, exclusive, block, seed
):
    torch.manual_seed(seed)
    places = torch.randn(6, 1, 1, 1) * torch.linspace(-3, 3, shape[2])  # each wins somewhere
    logits = torch.randn(6, *shape) + places
    logits[3] = logits[1]  # equal: the first wins
    regions = () if exclusive else (1, 2, 3, 4, 5, 6)
    with patch.object(label_blocks, "BLOCK", block):
        stream = StreamingArgmax(shape, home, regions=regions)
        feed_all(stream, logits.split(5, dim=1))
    grown = torch.nn.functional.interpolate(logits[None], size=home, mode="trilinear")[0]
    if exclusive:
        top = torch.cat((grown[:3], grown[4:])).topk(2, dim=0).values
        clear, expected = (top[0] - top[1] > 1e-3).numpy(), grown.argmax(0).numpy()
        expected[expected == 3] = 1
    else:
        clear = (grown.abs().amin(0) > 1e-3).numpy()
        indices = torch.arange(1, 7).reshape(6, 1, 1, 1)
        expected = torch.where(grown > 0, indices, 0).amax(0).numpy()
    assert np.array_equal(stream.classes[clear], expected[clear])
    assert clear.mean() > 0.9


def test_later_regions_overwrite_earlier_ones_where_they_are_positive():
    logits = torch.full((3, 5, 1, 1), -1.0)
    logits[0, 1:4] = 1.0
    logits[1, 2] = 0.1  # far below the first region, and yet positive
    logits[2, 4] = 2.0  # an inner region without the outer one
    logits[2, 3] = 0.0  # no more than doubtful
    stream = StreamingArgmax((5, 1, 1), (5, 1, 1), regions=(2, 1, 3))
    for part in (logits[:, :2], logits[:, 2:]):
        stream.feed(part)
    assert stream.classes.ravel().tolist() == [0, 2, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.integers(0, 99))
def test_streamed_regions_are_the_signs_of_interpolated_logits(shape, home, seed):
    torch.manual_seed(seed)
    logits = torch.randn(2, *shape)
    stream = StreamingArgmax(shape, home, regions=(1, 2))
    for row in range(shape[0]):
        stream.feed(logits[:, row : row + 1])
    grown = torch.nn.functional.interpolate(logits[None], size=home, mode="trilinear")[0]
    clear = (grown.abs().amin(0) > 1e-3).numpy()
    expected = torch.where(grown[1] > 0, 2, (grown[0] > 0).int()).numpy()
    assert np.array_equal(stream.classes[clear], expected[clear])
    assert clear.mean() > 0.9


def test_the_window_is_all_that_is_held():
    weight = gaussian((8, 16, 16), torch.device("cpu"))
    window = RollingAccumulator(3, (400, 16, 16), weight)
    assert window.sum_LIJK.shape == (3, 8, 16, 16)


@pytest.mark.parametrize("tile", [(4, 8, 16), (5, 5, 5)])
def test_weights_are_symmetric_and_never_zero(tile):
    weight = gaussian(tile, torch.device("cpu"))
    assert torch.equal(weight, weight.flip((0, 1, 2)))
    assert weight.min() > 0
