"""Two label maps compared: matched by name, measured in boxes, worst slices found."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import Cancelled, GeometryError
from medseg.metrics import compare, differences, labels_on, matched, overlap, surface_distances
from medseg.volume import Grid, LabelMap, LabelTable

AFFINE = np.array([[2.0, 0.3, 0, 5], [0, -3.0, 0.2, 7], [0.1, 0, 5.0, -9], [0, 0, 0, 1]])
GRID = Grid((18, 16, 14), AFFINE)


def blobs(seed: int, table: dict[int, str], grid: Grid = GRID) -> LabelMap:
    rng = np.random.default_rng(seed)
    values = np.zeros(grid.shape, np.uint8)
    for value in table:
        i, j, k = rng.integers(0, 6, 3)
        values[i : i + 9, j : j + 7, k : k + 6] = value
    return LabelMap(values, grid, LabelTable.of(table))


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_the_whole_maps(seed):
    first = blobs(seed, {1: "liver", 2: "spleen", 7: "cyst"})
    second = blobs(seed + 50, {1: "liver", 2: "spleen", 7: "cyst"})
    surface = surface_distances(first, second, tolerance_mm=3)
    shared = overlap(first, second)
    for row in compare(first, second, tolerance_mm=3):
        assert row.dice == shared[row.name].dice
        assert row.volume_ml == shared[row.name].volume_ml
        assert row.reference_volume_ml == shared[row.name].reference_volume_ml
        assert row.nsd == surface[row.name].nsd
        assert row.hd95_mm == pytest.approx(surface[row.name].hd95_mm, rel=1e-12)
        apart = (first.values == row.value) != (second.values == row.value)
        for axis, worst in enumerate(row.worst):
            counts = apart.sum(axis=tuple(other for other in range(3) if other != axis))
            assert counts[worst.index] == counts.max()
            height = GRID.voxel_volume_mm3 * counts.max() / worst.area_mm2
            edge = AFFINE[:3, axis]
            normal = np.cross(*(AFFINE[:3, other] for other in range(3) if other != axis))
            assert height == pytest.approx(abs(edge @ normal) / np.linalg.norm(normal))


def test_structures_are_matched_by_name_whatever_their_values():
    values = np.zeros((4, 4, 4), np.uint8)
    values[:2], values[2:] = 1, 2
    grid = Grid((4, 4, 4), np.eye(4))
    first = LabelMap(values, grid, LabelTable.of({1: "Liver", 2: "spleen"}))
    swapped = np.where(values == 1, 2, 1).astype(np.uint8)
    second = LabelMap(swapped, grid, LabelTable.of({1: "spleen", 2: "liver ", 3: "kidney"}))
    rows = {row.name: row for row in compare(first, second)}
    assert rows["kidney"].dice is None
    assert [rows[name].dice for name in ("Liver", "spleen")] == [1.0, 1.0]
    assert not differences(first, second).values.any()
    unnamed = LabelMap(values, grid, LabelTable.of({1: "label 1", 2: "label 2"}))
    assert [row.dice for row in compare(first, unnamed)] == [1.0, 1.0]


def test_a_name_at_a_taken_value_gets_a_free_one():
    grid = Grid((2, 1, 1), np.eye(4))
    first = LabelMap(
        np.array([1, 2], np.uint8)[:, None, None], grid, LabelTable.of({1: "a", 2: "b"})
    )
    second = LabelMap(
        np.array([2, 1], np.uint8)[:, None, None], grid, LabelTable.of({1: "a", 2: "c"})
    )
    one, other = matched(first, second)
    assert one.table.names == ("a", "b", "c")
    assert other.values.ravel().tolist() == [3, 1]
    assert differences(first, second).values.ravel().tolist() == [3, 3]


def test_differences_say_which_map_has_what():
    grid = Grid((5, 1, 1), np.eye(4))
    table = LabelTable.of({1: "a", 2: "b", 3: "ignore"})
    first = LabelMap(np.array([0, 1, 0, 1, 1], np.uint8)[:, None, None], grid, table)
    second = LabelMap(np.array([0, 0, 2, 2, 3], np.uint8)[:, None, None], grid, table)
    assert differences(first, second).values.ravel().tolist() == [0, 1, 2, 3, 0]


def test_empty_maps_and_cancel():
    grid = Grid((3, 3, 3), np.eye(4))
    empty = LabelMap(np.zeros(grid.shape, np.uint8), grid, LabelTable.of({1: "a"}))
    (row,) = compare(empty, empty)
    assert (row.dice, row.hd95_mm, row.nsd, row.worst[0].area_mm2) == (None, None, None, 0.0)
    nameless = LabelMap(np.zeros(grid.shape, np.uint8), grid, LabelTable(()))
    assert compare(nameless, nameless) == ()

    def stop(done, total, message):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        compare(empty, empty, progress=stop)


def test_other_grids_are_refused_and_brought_together_on_request():
    fine = Grid((40, 40, 40), np.diag([1.0, 1.0, 1.0, 1.0]))
    index = np.moveaxis(np.indices(fine.shape), 0, -1)
    ball = (np.linalg.norm(index - 19.5, axis=-1) < 14).astype(np.uint8)
    first = LabelMap(ball, fine, LabelTable.of({1: "ball"}))
    turned = np.array([[0, -2.0, 0, 39], [0, 0, 2.0, 0], [-2.0, 0, 0, 39], [0, 0, 0, 1]])
    coarse = Grid((20, 20, 20), turned)
    world = coarse.to_world(np.moveaxis(np.indices(coarse.shape), 0, -1))
    second = LabelMap(
        (np.linalg.norm(world - 19.5, axis=-1) < 14).astype(np.uint8),
        coarse,
        LabelTable.of({1: "ball"}),
    )
    with pytest.raises(GeometryError, match="one grid"):
        compare(first, second)
    moved = labels_on(second, fine)
    assert moved.grid is fine
    assert "resampled" in moved.provenance.notes[-1]
    (row,) = compare(first, moved)
    assert row.dice > 0.95
    assert labels_on(first, fine) is first
