"""Methods on regions whose answer is known: two halves, a ball in noise, a flat image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.interactive import METHODS, Region, grow_from_seeds
from medseg.interactive.lattice import Geodesics, links, neighbours
from medseg.interactive.methods.graph_cut import SURFACE, graph_cut

CUBE = (1.0, 1.0, 1.0)
CT = (0.8, 0.8, 3.0)


def region_of(image, *, seeds=None, previous=None, free=None, log_odds=None, spacing=CUBE):
    shape = image.shape[1:]
    seeds = np.zeros(shape, np.int8) if seeds is None else seeds
    free = np.ones(shape, bool) if free is None else free
    return Region(
        image.astype(np.float32),
        seeds,
        np.zeros(shape, bool) if previous is None else previous,
        free & (seeds == 0),
        np.zeros(shape, np.float32) if log_odds is None else log_odds.astype(np.float32),
        spacing,
    )


def halves(shape=(14, 9, 7), at=6, noise=0.05):
    image = np.zeros((1, *shape))
    image[:, :at] = 1
    return image + np.random.default_rng(0).normal(0, noise, image.shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spacing", [CUBE, CT])
def test_one_seed_on_each_side_finds_the_edge(method, spacing):
    seeds = np.zeros((14, 9, 7), np.int8)
    seeds[1, 4, 3], seeds[12, 4, 3] = 1, -1
    seeds[1, :, :], seeds[13, :, :] = 1, -1
    mask = METHODS[method](region_of(halves(), seeds=seeds, spacing=spacing))
    expected = np.zeros(mask.shape, bool)
    expected[:6] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_free_stays_and_seeds_hold(method):
    random = np.random.default_rng(1)
    shape = (9, 8, 7)
    region = region_of(
        random.random((2, *shape)),
        seeds=random.choice(np.array([-1, 0, 0, 0, 1], np.int8), shape),
        previous=random.random(shape) > 0.5,
        free=random.random(shape) > 0.3,
        log_odds=random.normal(0, 2, shape),
    )
    mask = METHODS[method](region)
    assert mask[region.seeds > 0].all()
    assert not mask[region.seeds < 0].any()
    untouched = ~region.free & (region.seeds == 0)
    assert np.array_equal(mask[untouched], region.previous[untouched])
    assert np.array_equal(mask, METHODS[method](region))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_free_and_nothing_known_are_answered_too(method):
    image = np.zeros((1, 3, 3, 1))
    nothing = METHODS[method](region_of(image, free=np.zeros((3, 3, 1), bool)))
    assert not nothing.any()
    assert not METHODS[method](region_of(image, log_odds=np.full((3, 3, 1), -1.0))).any()


def test_a_cut_is_the_least_of_all():
    """Every mask of eight voxels is tried; energies as the references of the method give them."""
    random = np.random.default_rng(2)
    spacing = (1.0, 2.0, 0.5)
    for _ in range(20):
        image = random.random((1, 2, 2, 2))
        log_odds = random.normal(0, 1.5, (2, 2, 2))
        seeds = np.zeros((2, 2, 2), np.int8)
        seeds[0, 0, 0] = 1

        def energy(mask, image=image, log_odds=log_odds):
            total = -log_odds[mask].sum()
            for axis, mm in enumerate(spacing):
                step = np.diff(image[0].astype(np.float32), axis=axis)
                usual = np.sqrt((step.astype(np.float64) ** 2).mean())
                weight = np.exp(-((step / usual) ** 2) / 2) / mm
                total += SURFACE * weight[np.diff(mask, axis=axis)].sum()
            return total

        masks = [np.array(m).reshape(2, 2, 2) for m in itertools.product((False, True), repeat=8)]
        least = min(energy(mask) for mask in masks if mask[0, 0, 0])
        answer = graph_cut(region_of(image, seeds=seeds, log_odds=log_odds, spacing=spacing))
        assert energy(answer) == pytest.approx(least, abs=0.05)


def test_thick_slices_are_tied_by_their_area_and_distance():
    ties = links(region_of(np.zeros((1, 2, 2, 2)), spacing=(1.0, 2.0, 4.0)), power=1)
    assert sorted(ties.weights.tolist()) == [0.25] * 4 + [0.5] * 4 + [1.0] * 4


def test_differences_count_in_units_of_what_is_usual_along_their_axis():
    image = np.zeros((2, 3, 1, 4))
    image[:, :, :, ::2] = 5
    pairs = list(neighbours(image.astype(np.float32), CT))
    assert len(pairs) == 2
    assert pairs[0].difference.max() == 0
    assert pairs[1].difference == pytest.approx(1)


def test_a_way_around_a_wall_is_as_long_as_its_steps():
    image = np.zeros((1, 5, 5, 1))
    image[0, :4, 2] = 1
    ways = Geodesics.through(image.astype(np.float32), (2.0, 1.0, 9.0), contrast=1000.0)
    sources = np.zeros((5, 5, 1), bool)
    sources[0, 0] = True
    around_mm = 4 * 2 + 4 + 4 * 2
    assert ways.length_mm(sources, farthest_mm=100)[0, 4, 0] == pytest.approx(around_mm)
    assert np.isinf(ways.length_mm(sources, farthest_mm=10)[0, 4, 0])


def test_several_structures_grow_until_they_meet():
    image = np.zeros((1, 30, 8, 6), np.float32)
    image[:, 10:20], image[:, 20:] = 0.5, 1.0
    image += np.random.default_rng(3).normal(0, 0.02, image.shape)
    seeds = np.zeros((30, 8, 6), np.uint16)
    seeds[3, 4, 3], seeds[14, 2, 2], seeds[27, 4, 3] = 7, 300, 1
    grown = grow_from_seeds(image, seeds, CUBE)
    assert grown.dtype == np.uint16
    assert (grown[:10] == 7).all()
    assert (grown[10:20] == 300).all()
    assert (grown[20:] == 1).all()


def test_seeds_of_one_structure_or_of_another_shape_are_refused():
    image = np.zeros((1, 4, 4, 4), np.float32)
    with pytest.raises(InputError, match="two structures or more, got 1"):
        grow_from_seeds(image, np.eye(4, dtype=np.uint8)[:, :, None].repeat(4, 2), CUBE)
    with pytest.raises(InputError, match="do not fit"):
        grow_from_seeds(image, np.ones((3, 4, 4), np.uint8), CUBE)
