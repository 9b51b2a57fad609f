"""Prompts: what they must have, and which voxels they are about on grids of any direction."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from medseg.errors import InputError
from medseg.interactive import Prompt
from medseg.interactive.marks import mark_on, named, seeds
from medseg.volume import Grid

TURNED = np.array(
    [[0.0, -0.8, 0.0, 10.0], [1.5, 0.0, 0.0, -20.0], [0.0, 0.0, -3.0, 5.0], [0, 0, 0, 1.0]]
)
GRID = Grid((12, 14, 6), TURNED)
WHOLE = tuple(slice(0, n) for n in GRID.shape)


def at(*voxel):
    return GRID.to_world(voxel)


def test_a_click_is_about_the_voxel_whose_centre_is_nearest():
    marked = named([mark_on(GRID, Prompt.click(at(3.4, 5.6, 2.3), 1))], 1, WHOLE)
    assert np.argwhere(marked == 1).tolist() == [[3, 6, 2]]


def test_around_a_click_lie_voxels_within_the_smallest_spacing():
    signs = seeds([mark_on(GRID, Prompt.click(at(3, 5, 2), 1, positive=False))], 1, WHOLE, GRID)
    assert np.argwhere(signs == -1).tolist() == [[3, 4, 2], [3, 5, 2], [3, 6, 2]]


def test_a_scribble_has_no_gaps_and_ends_at_the_edge_of_the_scan():
    curve = Prompt.scribble([at(-4, 2, 1), at(9, 2, 1), at(9, 12, 4)], 1)
    voxels = mark_on(GRID, curve).voxels
    assert voxels.min() >= 0
    assert set(map(tuple, voxels[voxels[:, 1] == 2][:10].tolist())) == {
        (i, 2, 1) for i in range(10)
    }
    steps = np.abs(voxels[:, None] - voxels[None]).max(axis=2)
    assert ((steps == 1).sum(axis=1) >= 1).all()


def test_a_box_against_a_structure_lies_along_the_voxels_whatever_its_corners():
    box = Prompt.box(at(8, 3, 4), at(2, 9, 1), 2, positive=False)
    signs = named([mark_on(GRID, box)], 2, WHOLE)
    expected = np.zeros(GRID.shape, bool)
    expected[2:9, 3:10, 1:5] = True
    assert np.array_equal(signs == -1, expected)


def test_a_click_for_another_structure_is_one_against_this():
    for_two = mark_on(GRID, Prompt.click(at(3, 5, 2), 2))
    against_two = mark_on(GRID, Prompt.click(at(7, 5, 2), 2, positive=False))
    signs = named([for_two, against_two], 1, WHOLE)
    assert signs[3, 5, 2] == -1
    assert signs[7, 5, 2] == 0


def test_of_two_prompts_on_a_voxel_the_later_holds_and_a_neighbour_does_not_count():
    here, beside = (
        mark_on(GRID, Prompt.click(at(3, 5, 2), 1)),
        mark_on(GRID, Prompt.click(at(3, 6, 2), 1, positive=False)),
    )
    signs = seeds([here, beside], 1, WHOLE, GRID)
    assert signs[3, 5, 2] == 1
    assert signs[3, 6, 2] == -1
    again = mark_on(GRID, Prompt.click(at(3, 5, 2), 1, positive=False))
    assert seeds([here, again], 1, WHOLE, GRID)[3, 5, 2] == -1


@pytest.mark.parametrize("place", [(-1, 5, 2), (3, 14, 2), (3, 5, 5.6)])
def test_a_click_outside_the_scan_is_refused_with_its_place(place):
    with pytest.raises(InputError, match=r"outside the scan.*-20\.0 to -3\.5") as refused:
        mark_on(GRID, Prompt.click(at(*place), 1))
    assert refused.value.code == "OUTSIDE"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Prompt.click((1, 2), 1), "three numbers"),
        (lambda: Prompt.click((1, 2, np.nan), 1), "finite"),
        (lambda: Prompt.click((1, 2, 3), 0), "label of 1"),
        (lambda: Prompt.scribble([], 1), "at least one point"),
        (lambda: Prompt(kind="box", points_mm=((0, 0, 0),), label=1), "two opposite corners"),
    ],
)
def test_a_prompt_that_says_nothing_is_refused(make, reason):
    with pytest.raises(InputError, match=reason):
        make()


def test_prompts_are_plain_data():
    prompts = (
        Prompt.click((1.25, -2.5, 1e-17), 3, positive=False),
        Prompt.scribble([(0, 0, 0), (1, 0.1, 0)], 2),
        Prompt.box((0, 0, 0), (5, 5, 5), 1),
    )
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(prompts), type=tuple[Prompt, ...]) == prompts
