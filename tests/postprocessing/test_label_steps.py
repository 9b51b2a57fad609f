import numpy as np
import pytest

from medseg.postprocessing import components, holes, minimum_volume

MM = (1.0, 1.0, 1.0)


def ball(shape, centre, radius, spacing=MM):
    away = [((np.arange(n) - c) * mm) ** 2 for n, c, mm in zip(shape, centre, spacing, strict=True)]
    return away[0][:, None, None] + away[1][None, :, None] + away[2] <= radius**2


def two_balls():
    labels = np.zeros((40, 30, 30), np.uint8)
    labels[ball(labels.shape, (10, 15, 15), 6)] = 1
    labels[ball(labels.shape, (28, 15, 15), 4)] = 1
    labels[30:34, 2:4, 2:4] = 2
    return labels


def test_components_keeps_the_largest_piece():
    labels = two_balls()
    found = components.build(components.Settings())(labels, spacing_mm=MM)
    assert np.array_equal(found == 1, ball(labels.shape, (10, 15, 15), 6))
    assert np.array_equal(found == 2, labels == 2)


def test_components_keeps_as_many_as_are_asked_for():
    labels = two_balls()
    assert np.array_equal(
        components.build(components.Settings(keep=2))(labels, spacing_mm=MM), labels
    )


def test_components_works_on_the_labels_named():
    labels = two_balls()
    labels[0, 0, 0] = 2
    found = components.build(components.Settings(labels=(2,)))(labels, spacing_mm=MM)
    assert np.array_equal(found == 1, labels == 1)
    assert found[0, 0, 0] == 0


@pytest.mark.parametrize(("connected_by", "left"), [("faces", 1), ("corners", 2)])
def test_components_over_faces_or_corners(connected_by, left):
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 1, 1] = labels[2, 2, 2] = 1
    settings = components.Settings(connected_by=connected_by)
    assert components.build(settings)(labels, spacing_mm=MM).sum() == left


@pytest.mark.parametrize(("equal", "left"), [(False, [5]), (True, [5, 5])])
def test_components_of_equal_size(equal, left):
    labels = np.zeros((20, 3, 3), np.uint8)
    labels[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13], 1, 1] = 1
    found = components.build(components.Settings(equal=equal))(labels, spacing_mm=MM)
    sizes = [found[:6].sum(), found[6:12].sum(), found[12:].sum()]
    assert [size for size in sizes if size] == left


def test_components_of_labels_that_are_one_structure():
    labels = two_balls()
    labels[16:18, 15, 15] = 2  # touches the larger ball
    settings = components.Settings(labels=(1, 2), together=True)
    found = components.build(settings)(labels, spacing_mm=MM)
    kept = ball(labels.shape, (10, 15, 15), 6)
    kept[16:18, 15, 15] = True
    assert np.array_equal(found, np.where(kept, labels, 0))


def shell():
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[ball(labels.shape, (12, 12, 12), 9)] = 1
    labels[ball(labels.shape, (12, 12, 12), 5)] = 0
    labels[ball(labels.shape, (12, 12, 12), 2)] = 2
    return labels


def test_holes_are_filled_and_the_label_inside_stays():
    labels = shell()
    found = holes.build(holes.Settings())(labels, spacing_mm=MM)
    assert np.array_equal(found == 2, labels == 2)
    assert np.array_equal(found > 0, ball(labels.shape, (12, 12, 12), 9))


def test_holes_take_other_labels_only_when_told():
    found = holes.build(holes.Settings(over_labels=True, labels=(1,)))(shell(), spacing_mm=MM)
    assert np.array_equal(found == 1, ball(found.shape, (12, 12, 12), 9))


@pytest.mark.parametrize(("spacing", "filled"), [((0.5, 1.0, 2.0), True), ((1.0, 1.0, 2.0), False)])
def test_the_largest_hole_is_in_cubic_millimetres(spacing, filled):
    labels = np.ones((5, 5, 6), np.uint8)
    labels[2, 2, 2:4] = 0
    settings = holes.Settings(largest_mm3=2.0)
    assert holes.build(settings)(labels, spacing_mm=spacing).all() == filled


def test_a_way_out_is_no_hole():
    labels = shell()
    labels[12, 12, :] = 0
    assert np.array_equal(holes.build(holes.Settings())(labels, spacing_mm=MM), labels)
    at_the_edge = np.ones((5, 5, 5), np.uint8)
    at_the_edge[0, 2, 2] = 0
    assert np.array_equal(holes.build(holes.Settings())(at_the_edge, spacing_mm=MM), at_the_edge)


def test_a_picture_has_holes_in_its_plane():
    labels = np.zeros((9, 9, 1), np.uint8)
    labels[2:7, 2:7] = 3
    labels[4, 4] = 0
    found = holes.build(holes.Settings())(labels, spacing_mm=MM)
    assert found.sum() == 25 * 3


@pytest.mark.parametrize(("spacing", "kept"), [((1.0, 1.0, 2.0), True), ((1.0, 1.0, 1.9), False)])
def test_the_minimum_volume_is_in_cubic_millimetres(spacing, kept):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2, 2, 2:7] = 1
    settings = minimum_volume.Settings(smallest_mm3=10.0)
    assert minimum_volume.build(settings)(labels, spacing_mm=spacing).any() == kept


def test_steps_agree_with_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = np.random.default_rng(4).random((20, 21, 22)) < 0.33
    numbers, _ = ndimage.label(mask)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    ours = minimum_volume.build(minimum_volume.Settings(smallest_mm3=5.0))
    assert np.array_equal(
        ours(mask.astype(np.uint8), spacing_mm=MM) > 0, mask & (sizes[numbers] >= 5)
    )
    dense = ~mask
    assert np.array_equal(
        holes.build(holes.Settings())(dense.astype(np.uint8), spacing_mm=MM) > 0,
        ndimage.binary_fill_holes(dense),
    )


def test_a_hole_goes_to_the_inner_of_two_rings():
    labels = np.zeros((15, 15, 1), np.uint8)
    labels[1:14, 1:14] = 1
    labels[4:11, 4:11] = 2
    labels[6:9, 6:9] = 0
    found = holes.build(holes.Settings())(labels, spacing_mm=MM)
    assert (found[6:9, 6:9] == 2).all()
