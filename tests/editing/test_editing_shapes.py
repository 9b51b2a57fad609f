"""Corrections against truth by formula: balls, boxes and two spacings."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.editing import (
    Brush,
    Growth,
    Rules,
    apply,
    ball,
    box_of,
    fill_between_slices,
    fill_holes,
    grow,
    intensity_range,
    keep_in_range,
    label_statistics,
    largest_component,
    paint,
    smooth,
    split_at_seeds,
    split_into_pieces,
)
from medseg.errors import InputError

CT = (3.0, 0.8, 0.8)
CUBE = (1.0, 1.0, 1.0)


def away_mm(shape, centre, spacing):
    """Distance of each voxel to a centre (in voxels), in mm."""
    steps = [(np.arange(n) - c) * mm for n, c, mm in zip(shape, centre, spacing, strict=True)]
    i, j, k = np.meshgrid(*steps, indexing="ij", sparse=True)
    return np.sqrt(i**2 + j**2 + k**2)


def sphere(radius_mm, spacing, margin_mm=6.0, value=1):
    shape = tuple(2 * int((radius_mm + margin_mm) / mm) + 1 for mm in spacing)
    centre = [n // 2 for n in shape]
    return np.where(away_mm(shape, centre, spacing) <= radius_mm, value, 0).astype(np.uint8)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [CUBE, (1.0, 2.5, 0.8)])
def test_a_sphere_drawn_in_some_slices_is_filled_to_its_volume(axis, spacing) -> None:
    whole = sphere(20.0, spacing)
    drawn = whole.copy()
    step = max(2, round(5.0 / spacing[axis]))
    first, last = np.flatnonzero(np.moveaxis(whole, axis, 0).any(axis=(1, 2)))[[0, -1]]
    left = np.ones(whole.shape[axis], bool)
    left[first : last + 1 : step] = left[last] = False
    np.moveaxis(drawn, axis, 0)[left] = 0
    edit = fill_between_slices(drawn, 1, spacing_mm=spacing, axis=axis)
    after = apply(drawn, edit)
    middle_mm = (np.arange(whole.shape[axis]) - whole.shape[axis] // 2) * spacing[axis]
    kept = np.flatnonzero(~left)
    radius_mm = np.interp(
        middle_mm, middle_mm[kept], np.sqrt(np.maximum(400 - middle_mm[kept] ** 2, 0)), 0, 0
    )
    cones_mm3 = np.pi * (radius_mm**2).sum() * spacing[axis]
    assert after.sum() * np.prod(spacing) == pytest.approx(cones_mm3, rel=0.02)
    assert cones_mm3 == pytest.approx(4 / 3 * np.pi * 20.0**3, rel=0.06)
    assert np.array_equal(after[drawn == 1], drawn[drawn == 1])
    again = fill_between_slices(after, 1, spacing_mm=spacing, axis=axis)
    assert again.changed(after) == 0


def test_slices_are_filled_by_distances_in_mm_within_the_slice() -> None:
    """A disc that becomes a square elsewhere: half-way lies between the two, in mm not voxels."""
    spacing = (4.0, 1.0, 3.0)
    values = np.zeros((3, 121, 41), np.uint8)
    for row, radius_mm in ((0, 30.0), (2, 50.0)):
        values[row] = away_mm((1, 121, 41), (0, 60, 20), spacing)[0] <= radius_mm
    after = apply(values, fill_between_slices(values, 1, spacing_mm=spacing))
    middle = after[1]
    assert int(middle[:, 20].sum()) == pytest.approx(2 * 40, abs=3)
    assert int(middle[60].sum()) * 3.0 == pytest.approx(2 * 40, abs=6)


@pytest.mark.parametrize("spacing", [CUBE, CT])
def test_a_ball_is_as_large_as_the_formula_says(spacing) -> None:
    footprint = ball(12.0, spacing)
    assert footprint.sum() * np.prod(spacing) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
    assert all(
        size == 2 * int(np.ceil(12.0 / mm)) + 1
        for size, mm in zip(footprint.shape, spacing, strict=True)
    )
    flat = ball(12.0, spacing, flat_axis=0)
    assert np.array_equal(flat[0], footprint[footprint.shape[0] // 2])


def test_a_stroke_is_a_capsule_without_gaps() -> None:
    values = np.zeros((25, 60, 120), np.uint8)
    brush = Brush(8.0, CT)
    points = brush.stroke((12, 30, 20), (12, 30, 100))
    after = apply(values, paint(values, points, 3, brush=brush))
    length_mm = 80 * 0.8
    formula = 4 / 3 * np.pi * 8**3 + np.pi * 8**2 * length_mm
    assert (after == 3).sum() * np.prod(CT) == pytest.approx(formula, rel=0.05)
    assert set(np.unique(after)) == {0, 3}
    assert (after[12, 30, 10:111] == 3).all()


def test_a_brush_at_and_beyond_the_edge_paints_what_is_there() -> None:
    values = np.zeros((9, 9, 9), np.uint8)
    brush = Brush(3.0, CUBE)
    corner = apply(values, paint(values, [(0, 0, 0)], 1, brush=brush))
    assert np.array_equal(corner == 1, away_mm((9, 9, 9), (0, 0, 0), CUBE) <= 3)
    assert paint(values, [(40, 4, 4)], 1, brush=brush).changed(values) == 0


def test_a_brush_with_a_range_paints_those_intensities_only() -> None:
    image = np.arange(11.0)[None, None].repeat(11, 0).repeat(11, 1)
    values = np.zeros((11, 11, 11), np.uint8)
    brush = Brush(4.0, CUBE, low=4.0, high=6.0)
    after = apply(values, paint(values, [(5, 5, 5)], 1, brush=brush, image=image))
    near = away_mm((11, 11, 11), (5, 5, 5), CUBE) <= 4
    assert np.array_equal(after == 1, near & (image >= 4) & (image <= 6))


def test_growing_fills_the_organ_and_stops_at_the_radius() -> None:
    away = away_mm((31, 101, 101), (15, 50, 50), CT)
    image = np.where(away <= 25, 60.0, -100.0)
    image[:, :, 50] = np.where(away[:, :, 50] <= 60, 60.0, image[:, :, 50])  # a leak
    values = np.zeros(image.shape, np.uint8)
    values[15, 48:53, 48:53] = 2
    low, high = intensity_range(values, 2, image)
    assert low <= 60 <= high
    growth = Growth(low=40, high=80, radius_mm=10.0)
    once = apply(values, grow(values, 2, image, growth=growth, spacing_mm=CT))
    seeds = np.argwhere(values) * np.asarray(CT)
    far = [
        np.linalg.norm(seeds - np.asarray(place) * CT, axis=1).min()
        for place in np.argwhere(once == 2)[::37]
    ]
    assert 9.0 < max(far) <= 10.0 + 1e-6
    wide = Growth(low=40, high=80, radius_mm=200.0)
    whole = apply(values, grow(values, 2, image, growth=wide, spacing_mm=CT))
    assert np.array_equal(whole == 2, image == 60)
    assert grow(whole, 2, image, growth=wide, spacing_mm=CT).changed(whole) == 0


def test_growing_does_not_jump_to_what_is_not_connected() -> None:
    image = np.zeros((5, 5, 20))
    image[:, :, 2:8] = image[:, :, 12:18] = 100
    values = np.zeros(image.shape, np.uint8)
    values[2, 2, 4] = 1
    growth = Growth(low=90, high=110, radius_mm=50)
    after = apply(values, grow(values, 1, image, growth=growth, spacing_mm=CUBE))
    assert (after[:, :, 2:8] == 1).all()
    assert (after[:, :, 8:] == 0).all()


def test_smoothing_takes_bumps_and_keeps_the_ball() -> None:
    clean = sphere(20.0, CT)
    rough = clean.copy()
    noise = np.random.default_rng(3).random(clean.shape) < 0.15
    rim = np.abs(away_mm(clean.shape, [n // 2 for n in clean.shape], CT) - 20) < 2
    rough[noise & rim] ^= 1
    after = apply(rough, smooth(rough, 1, sigma_mm=2.0, spacing_mm=CT))
    assert (after != clean).sum() < 0.35 * (rough != clean).sum()
    assert after.sum() == pytest.approx(clean.sum(), rel=0.05)


def test_smoothing_is_as_wide_in_mm_along_each_axis() -> None:
    """A plate of 4 mm survives 1 mm and goes at 6 mm, whichever axis it is thin along."""
    for axis in range(3):
        spacing = tuple(2.0 if one == axis else 0.5 for one in range(3))
        values = np.zeros([21 if one == axis else 31 for one in range(3)], np.uint8)
        plate = np.moveaxis(values, axis, 0)
        plate[10:12] = 1
        assert smooth(values, 1, sigma_mm=1.0, spacing_mm=spacing).changed(values) == 0
        gone = apply(values, smooth(values, 1, sigma_mm=6.0, spacing_mm=spacing))
        assert gone.sum() == 0


def test_the_largest_piece_stays_and_holes_are_filled() -> None:
    values = np.zeros((40, 40, 40), np.uint8)
    shell = away_mm(values.shape, (20, 20, 20), CUBE)
    values[(shell <= 12) & (shell > 6)] = 1
    values[1:4, 1:4, 1:4] = 1
    values[20, 20, 20] = 2
    kept = apply(values, largest_component(values, 1, spacing_mm=CUBE))
    assert (kept[1:4, 1:4, 1:4] == 0).all()
    assert kept[20, 20, 20] == 2
    full = apply(kept, fill_holes(kept, 1, spacing_mm=CUBE))
    assert np.array_equal(full == 1, (shell <= 12) & (kept != 2))
    assert fill_holes(kept, 1, spacing_mm=CUBE, largest_mm3=10.0).changed(kept) == 0


def test_two_touching_balls_are_cut_at_their_neck() -> None:
    values = np.zeros((17, 61, 101), np.uint8)
    left, right = (away_mm(values.shape, (8, 30, k), CT) for k in (35, 65))
    values[(left <= 14) | (right <= 14)] = 4
    edit = split_at_seeds(values, 4, [(8, 30, 30), (8, 30, 70)], new_value=9, spacing_mm=CT)
    after = apply(values, edit)
    assert ((after > 0) == (values > 0)).all()
    nearer = np.where(left <= right, 4, 9)
    assert (after[values > 0] != nearer[values > 0]).mean() < 0.02
    with pytest.raises(InputError, match="does not lie in label 4"):
        split_at_seeds(values, 4, [(0, 0, 0), (8, 30, 70)], new_value=9, spacing_mm=CT)


def test_pieces_become_labels_the_largest_keeps_its_own() -> None:
    values = np.zeros((10, 10, 30), np.uint8)
    for start, stop in ((1, 3), (6, 14), (18, 22)):
        values[2:8, 2:8, start:stop] = 1
    after = apply(values, split_into_pieces(values, 1, new_values=[5, 6]))
    found = {int(v): np.flatnonzero((after == v).any(axis=(0, 1))) for v in (1, 5, 6)}
    assert {v: (at[0], at[-1] + 1) for v, at in found.items()} == {
        1: (6, 14),
        5: (18, 22),
        6: (1, 3),
    }


def test_a_label_is_limited_to_a_range() -> None:
    values = np.ones((4, 4, 4), np.uint8)
    values[0] = 2
    image = np.indices(values.shape)[2] * 10.0
    after = apply(values, keep_in_range(values, 1, image, low=10, high=20))
    assert np.array_equal(after[1:] == 1, (image >= 10)[1:] & (image <= 20)[1:])
    assert (after[0] == 2).all()


def test_statistics_say_size_and_place() -> None:
    values = np.zeros((20, 60, 60), np.uint16)
    values[away_mm(values.shape, (8, 20, 30), CT) <= 12] = 7
    values[away_mm(values.shape, (8, 50, 50), CT) <= 6] = 300
    ring = away_mm(values.shape, (15, 20, 20), CT)
    found = label_statistics(values, spacing_mm=CT)
    assert list(found) == [7, 300]
    assert found[7].volume_ml == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.05)
    assert found[7].centre == (8, 20, 30)
    assert found[7].slices == (9, 31, 31)
    values[(ring < 14) & (ring > 10)] = 9
    bent = label_statistics(values, spacing_mm=CT, voxel_mm3=1000.0)[9]
    assert values[bent.centre] == 9
    assert bent.volume_ml == bent.voxels
    assert bent.box == box_of(values, 9)


@pytest.mark.parametrize("radius_mm", [4.0, 7.5])
def test_smoothing_that_keeps_the_volume_rounds_and_does_not_shrink(radius_mm) -> None:
    far = np.hypot(*np.ogrid[-20:21, -20:21])[None] ** 2 + np.arange(-20, 21)[:, None, None] ** 2
    values = (far < radius_mm**2).astype(np.uint8)
    values[20, 20, 21:33] = 1  # a thorn
    before = values.sum()
    for keep_volume, least in ((True, 0.98), (False, 0.0)):
        edit = smooth(values, 1, sigma_mm=2.0, spacing_mm=CUBE, keep_volume=keep_volume)
        after = np.array(values)
        after[edit.where] = edit.values
        assert not after[20, 20, 30:].any(), "the thorn goes"
        assert after.sum() >= least * before
        assert after.sum() <= 1.06 * before
    assert after.sum() < 0.97 * before, "half of the blur alone shrinks what is round"


def test_nothing_comes_of_nothing() -> None:
    values = np.zeros((5, 6, 7), np.uint8)
    image = np.zeros(values.shape)
    growth = Growth(low=0, high=1, radius_mm=2)
    edits = [
        fill_between_slices(values, 1, spacing_mm=CUBE),
        fill_holes(values, 1, spacing_mm=CUBE),
        smooth(values, 1, sigma_mm=1.0, spacing_mm=CUBE),
        largest_component(values, 1, spacing_mm=CUBE),
        grow(values, 1, image, growth=growth, spacing_mm=CUBE),
        keep_in_range(values, 1, image, low=0, high=1),
        split_into_pieces(values, 1, new_values=[2]),
    ]
    assert [edit.changed(values) for edit in edits] == [0] * len(edits)
    assert label_statistics(values, spacing_mm=CUBE) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Brush(0.0, CUBE),
        lambda: Growth(low=2, high=1, radius_mm=3),
        lambda: Growth(low=0, high=1, radius_mm=float("inf")),
        lambda: smooth(np.ones((3, 3, 3), int), 1, sigma_mm=-1, spacing_mm=CUBE),
        lambda: intensity_range(np.zeros((3, 3, 3), int), 1, np.zeros((3, 3, 3))),
    ],
)
def test_what_cannot_be_meant_is_an_error(wrong) -> None:
    with pytest.raises(InputError):
        wrong()


def test_locked_labels_cannot_be_asked_for() -> None:
    values = np.ones((3, 3, 3), np.uint8)
    with pytest.raises(InputError, match="label 1 is locked"):
        smooth(values, 1, sigma_mm=1.0, spacing_mm=CUBE, rules=Rules(locked=(1,)))
