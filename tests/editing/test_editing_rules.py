"""Properties of every operation: others' voxels, locks, the box, and repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.editing import (
    Brush,
    Growth,
    Rules,
    apply,
    fill_between_slices,
    fill_holes,
    grow,
    keep_in_range,
    largest_component,
    paint,
    protected,
    smooth,
    split_into_pieces,
)

SPACINGS = st.tuples(*[st.floats(0.5, 4.0)] * 3)


def operations(values, image, spacing, rules):
    """Every operation on label 1, by name."""
    growth = Growth(low=20, high=90, radius_mm=5.0)
    brush = Brush(4.0, spacing)
    middle = [n / 2 for n in values.shape]
    return {
        "between": fill_between_slices(values, 1, spacing_mm=spacing, rules=rules),
        "holes": fill_holes(values, 1, spacing_mm=spacing, rules=rules),
        "grow": grow(values, 1, image, growth=growth, spacing_mm=spacing, rules=rules),
        "range": keep_in_range(values, 1, image, low=20, high=90, rules=rules),
        "largest": largest_component(values, 1, spacing_mm=spacing, rules=rules),
        "pieces": split_into_pieces(values, 1, new_values=[8, 9], rules=rules),
        "smooth": smooth(values, 1, sigma_mm=2.0, spacing_mm=spacing, rules=rules),
        "paint": paint(values, [middle], 1, brush=brush, rules=rules),
    }


def blobs(seed):
    """Labels 0 to 3 in blobs, and an image."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(4, 14, 3))
    coarse = random.integers(0, 4, [-(-n // 3) for n in shape])
    values = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(0, n) for n in shape)]
    return values.astype(np.uint8), random.uniform(0, 100, shape)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), spacing=SPACINGS)
def test_other_labels_keep_their_voxels(seed, spacing) -> None:
    values, image = blobs(seed)
    before = values.copy()
    for name, edit in operations(values, image, spacing, Rules()).items():
        after = apply(values, edit)
        others = values > 1
        assert np.array_equal(after[others], values[others]), name
        assert set(np.unique(after[~others])) <= {0, 1, 8, 9}, name
    assert np.array_equal(values, before)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), spacing=SPACINGS)
def test_locked_labels_neither_lose_nor_gain(seed, spacing) -> None:
    values, image = blobs(seed)
    rules = Rules(over_labels=True, locked=(2,))
    for name, edit in operations(values, image, spacing, rules).items():
        assert np.array_equal(apply(values, edit) == 2, values == 2), name


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), spacing=SPACINGS)
def test_doing_it_twice_changes_nothing_more(seed, spacing) -> None:
    values, image = blobs(seed)
    for name in ("holes", "range", "largest", "paint"):
        after = apply(values, operations(values, image, spacing, Rules())[name])
        again = apply(after, operations(after, image, spacing, Rules())[name])
        assert np.array_equal(after, again), name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), spacing=SPACINGS, order=st.permutations(range(3)))
def test_axes_may_come_in_any_order(seed, spacing, order) -> None:
    """What an operation does depends on millimetres, not on how the array lies."""
    values, image = blobs(seed)
    turned = tuple(spacing[axis] for axis in order)
    there = operations(values, image, spacing, Rules())
    here = operations(values.transpose(order), image.transpose(order), turned, Rules())
    for name in ("holes", "grow", "range", "smooth"):
        straight = apply(values, there[name]).transpose(order)
        assert np.array_equal(apply(values.transpose(order), here[name]), straight), name


@given(seed=st.integers(0, 10_000))
def test_protected_is_the_edit_without_locked_voxels(seed) -> None:
    random = np.random.default_rng(seed)
    before, after = random.integers(0, 4, (2, 5, 6))
    kept = protected(before, after, [2, 3])
    for locked in (2, 3):
        assert np.array_equal(kept == locked, before == locked)
    free = ~np.isin(before, [2, 3]) & ~np.isin(after, [2, 3])
    assert np.array_equal(kept[free], after[free])


def test_erasing_takes_any_label_but_a_locked_one() -> None:
    values = np.full((7, 7, 7), 2, np.uint8)
    values[3] = 3
    brush = Brush(2.0, (1.0, 1.0, 1.0))
    after = apply(values, paint(values, [(3, 3, 3)], 0, brush=brush, rules=Rules(locked=(3,))))
    assert (after[3] == 3).all()
    assert (after == 0).sum() == 33 - 13


@pytest.mark.parametrize("over", [False, True])
def test_painting_over_labels_is_asked_for(over) -> None:
    values = np.zeros((7, 7, 7), np.uint8)
    values[3] = 5
    edit = paint(values, [(3, 3, 3)], 1, brush=Brush(2.0, (1.0,) * 3), rules=Rules(over))
    assert (apply(values, edit)[3] == 1).any() == over
