"""Simulated prompts: where they lie, how many there are, and what a network sees of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_cdt

from medseg.interactive.simulation import (
    Points,
    Settings,
    balls,
    click_count,
    clicks_in,
    depth,
    mask_before,
    simulated_prompts,
)

CUBE = (1.0, 1.0, 1.0)
CT = (5.0, 1.0, 1.0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def two_balls(shape=(4, 24, 26, 22)):
    truth = torch.zeros(shape, dtype=torch.bool)
    i, j, k = torch.meshgrid(*[torch.arange(n) for n in shape[1:]], indexing="ij")
    truth[0] = (i - 10) ** 2 + (j - 12) ** 2 + (k - 10) ** 2 <= 49
    truth[1, 2:20, 5:9, 4:18] = True
    truth[2] = truth[0] | truth[1]
    return truth


def test_a_point_is_a_cone_of_two_voxels_and_three_heights():
    points = Points(torch.tensor([1]), torch.tensor([[4, 4, 4]]))
    maps = balls(points, (2, 9, 9, 9), CUBE, radius=2)
    line = maps[1, 4, 4]
    assert line.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0, 0])
    assert maps[1, 4, 5, 5] == pytest.approx(1 - math.sqrt(2) / 3)
    assert not maps[0].any()
    assert int((maps > 0).sum()) == 33


def test_thick_slices_get_flat_balls_and_edges_cut_them():
    points = Points(torch.tensor([0, 0]), torch.tensor([[1, 4, 4], [2, 0, 0]]))
    maps = balls(points, (1, 3, 9, 9), CT, radius=2)
    assert int((maps[0, 1] > 0).sum()) == 13
    assert not maps[0, 0].any()
    assert int((maps[0, 2] > 0).sum()) == 6


def test_where_balls_meet_the_higher_counts():
    points = Points(torch.tensor([0, 0]), torch.tensor([[4, 3], [4, 5]]))
    assert balls(points, (1, 9, 9), (1.0, 1.0), radius=2)[0, 4, 3:6].tolist() == pytest.approx(
        [1, 2 / 3, 1]
    )


def test_few_clicks_are_likelier_than_many_by_the_logarithm():
    counts = np.bincount([click_count(10, seeded(n)) for n in range(6000)], minlength=11) / 6000
    weights = np.log(12 - np.arange(11))
    assert counts == pytest.approx(weights / weights.sum(), abs=0.02)
    assert counts[0] == pytest.approx(0.124, abs=0.02)


def test_depth_is_the_distance_in_voxels_along_any_direction():
    masks = two_balls()
    padded = np.pad(masks[2].numpy(), 9, mode="edge")
    expected = distance_transform_cdt(padded, "chessboard")[9:-9, 9:-9, 9:-9]
    assert np.array_equal(depth(masks, CUBE)[2].numpy(), np.minimum(expected, 8))
    assert not depth(masks, CUBE)[3].any()


def test_slices_five_times_as_thick_are_crossed_after_five_steps():
    masks = torch.zeros((1, 3, 31, 31), dtype=torch.bool)
    masks[0, 1] = True
    assert depth(masks, CT)[0, 1, 15, 15] == 5


@pytest.mark.parametrize("spacing", [CUBE, CT])
def test_clicks_lie_in_the_error_and_every_patch_has_its_own(spacing):
    errors = two_balls()
    points = clicks_in(errors, spacing, generator=seeded(3), settings=Settings(scribbles=1.0))
    assert len(points.sample) > 20
    assert errors[(points.sample, *points.voxel.T)].all()
    assert set(points.sample.tolist()) <= {0, 1, 2}


def test_deep_clicks_are_deeper_than_those_near_the_surface():
    errors = two_balls()[:1].expand(40, -1, -1, -1)
    means = []
    for deep in (1.0, 0.0):
        settings = Settings(deep=deep, jitter=0.0, scribbles=0.0)
        points = clicks_in(errors, CUBE, generator=seeded(4), settings=settings)
        levels = depth(errors, CUBE)[(points.sample, *points.voxel.T)].float()
        means.append(float(levels.mean()))
        assert deep or levels.max() <= settings.near_surface
    assert means[0] > means[1] + 0.5


def test_a_scribble_is_a_curve_without_gaps_larger_than_its_ball():
    errors = torch.ones((1, 40, 40), dtype=torch.bool)
    settings = Settings(most_clicks=1, scribbles=1.0, deep=1.0)
    sizes = []
    for seed in range(20):
        points = clicks_in(errors, (1.0, 1.0), generator=seeded(seed), settings=settings)
        if len(points.voxel) > 4:
            apart = torch.cdist(points.voxel.float(), points.voxel.float())
            apart.fill_diagonal_(100)
            assert apart.min(dim=1).values.max() <= 2.9
            sizes.append(len(points.voxel))
    assert len(sizes) > 3


def test_the_mask_before_is_nothing_in_a_third_and_else_like_the_truth():
    truth = two_balls()[:1].expand(60, -1, -1, -1)
    before = mask_before(truth, CUBE, generator=seeded(5))
    share = float((~before.flatten(1).any(dim=1)).float().mean())
    assert 0.2 < share < 0.5
    drawn = before[before.flatten(1).any(dim=1)]
    shared = (drawn & truth[0]).flatten(1).sum(1)
    dice = 2 * shared / (drawn.flatten(1).sum(1) + truth[0].sum())
    assert 0.5 < float(dice.mean()) < 0.95
    assert ((drawn & ~truth[0]).flatten(1).any(dim=1)).any()
    assert ((~drawn & truth[0]).flatten(1).any(dim=1)).any()
    whole = Settings(damage=0.0, nothing_before=0.0)
    assert torch.equal(mask_before(truth, CUBE, generator=seeded(), settings=whole), truth)


@pytest.mark.parametrize(("shape", "spacing"), [((3, 16, 18, 20), CT), ((3, 20, 24), (1.0, 1.0))])
def test_channels_are_the_mask_before_and_balls_of_each_side(shape, spacing):
    truth = torch.zeros(shape, dtype=torch.bool)
    truth[(slice(0, 2), *(slice(4, 13) for _ in shape[1:]))] = True
    channels = simulated_prompts(truth, spacing, generator=seeded(6))
    assert channels.shape == (shape[0], 3, *shape[1:])
    before = channels[:, 0] > 0
    assert not (channels[:, 1] == 1)[~(truth & ~before)].any()
    assert not (channels[:, 2] == 1)[~(before & ~truth)].any()
    assert not channels[2].any()
    assert torch.equal(channels, simulated_prompts(truth, spacing, generator=seeded(6)))


def test_a_networks_own_prediction_can_be_what_was_before():
    truth = two_balls()
    before = torch.roll(truth, 3, 2)
    channels = simulated_prompts(truth, CUBE, generator=seeded(7), before=before)
    assert torch.equal(channels[:, 0] > 0, before)
    assert channels[:, 1].any()
    assert channels[:, 2].any()
