"""Plans of models from nnU-Net: axes, crop, order of steps and resampling are as in its training.

The truth is scipy's, scikit-image's and torch's, called as nnU-Net calls them.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from monai.data import MetaTensor
from msgspec import structs
from scipy import ndimage
from skimage.transform import resize

from medseg.errors import PlanError
from medseg.planning import Component, Interpolation, Normalisation, Plan, Resampling
from medseg.preprocessing import Placement, array_pipeline, prepare_image
from medseg.preprocessing.previous_stage import previous_masks
from medseg.preprocessing.regridding import regrid_image, regrid_labels
from medseg.reading.monai_reader import as_meta_tensor
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.volume.bounding_box import nonzero_box
from strategies import grids

SHAPE, LARGER = (7, 20, 31), (13, 33, 24)
NOISE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
ALIKE = (1.0, 1.0, 1.0)
THICK = (4.0, 1.0, 1.0)
PLAN = Plan(
    spacing_mm=(1.5, 0.8, 1.1),
    channels=("MR",),
    normalisation=(Normalisation(),),
    crop="nonzero",
    normalise_first=True,
    resampling=Resampling(),
    orientation="KJI",
    patch=(8, 8, 8),
    batch=1,
    network=Component(name="unet"),
)


def by_scikit_image(values, shape):
    return resize(values, shape, 3, mode="edge", anti_aliasing=False)


def ours(values, way, spacing_mm=ALIKE):
    return regrid_image(values[None], LARGER, way, spacing_mm, spacing_mm)[0]


def test_the_spline_is_scikit_images_to_the_border():
    expected = by_scikit_image(NOISE.astype(float), LARGER)
    assert np.abs(ours(NOISE, Interpolation()) - expected).max() < 1e-5


def test_thick_slices_are_resampled_one_by_one_and_the_nearest_taken():
    slices = np.stack([by_scikit_image(one.astype(float), LARGER[1:]) for one in NOISE])
    positions = SHAPE[0] / LARGER[0] * (np.arange(LARGER[0]) + 0.5) - 0.5
    i, j, k = np.meshgrid(positions, *map(np.arange, LARGER[1:]), indexing="ij")
    expected = ndimage.map_coordinates(slices, (i, j, k), order=0, mode="nearest")
    assert np.abs(ours(NOISE, Interpolation(), THICK) - expected).max() < 1e-5
    linear = ndimage.map_coordinates(slices, (i, j, k), order=1, mode="nearest")
    assert np.abs(ours(NOISE, Interpolation(order_across=1), THICK) - linear).max() < 1e-5


def test_no_value_leaves_the_range_of_its_slice():
    step = np.zeros(SHAPE, np.float32)
    step[:, 10:], step[3] = 1.0, 5.0
    whole, by_slice = (ours(step, Interpolation(), mm) for mm in (ALIKE, THICK))
    assert (whole.min(), whole.max()) == (0, 5)
    assert np.unique(by_slice[by_slice > 1]) == [5]


def test_torchs_way_is_torchs():
    way = Interpolation(order=1, torch=True)
    values = torch.from_numpy(NOISE)[None, None]
    linear = torch.nn.functional.interpolate(values, LARGER, mode="trilinear")[0, 0]
    assert np.array_equal(ours(NOISE, way), linear.numpy())
    in_plane = torch.nn.functional.interpolate(values[0], LARGER[1:], mode="bilinear")[None]
    nearest = torch.nn.functional.interpolate(in_plane, LARGER, mode="nearest-exact")[0, 0]
    assert np.allclose(ours(NOISE, way, THICK), nearest.numpy(), atol=1e-5)


def test_of_two_labels_that_are_as_near_the_nearest_voxels_wins():
    labels = np.array([3, 1, 1, 2, 2, 2], np.int16).reshape(1, 1, 6).repeat(2, 0).repeat(2, 1)
    halved = regrid_labels(labels, (2, 2, 3), Interpolation(order=1), ALIKE, ALIKE)
    assert halved[0, 0].tolist() == [1, 2, 2]
    least = regrid_labels(labels, (2, 2, 3), Interpolation(order=1, torch=True), ALIKE, ALIKE)
    assert least[0, 0].tolist() == [1, 1, 2]


def test_the_box_is_what_is_not_0_in_some_channel():
    voxels = np.zeros((2, 9, 8, 7), np.int16)
    voxels[0, 2, 3, 1], voxels[1, 5, 4, 6] = -5, 7
    assert nonzero_box(voxels) == (slice(2, 6), slice(3, 5), slice(1, 7))
    assert nonzero_box(voxels * 0) == (slice(0, 9), slice(0, 8), slice(0, 7))


@settings(max_examples=25, deadline=None)
@given(grids())
def test_native_axes_come_home_whatever_they_are_in_the_body(grid):
    grid = Grid(tuple(n + 3 for n in grid.shape), grid.affine)
    voxels = np.zeros((1, *grid.shape), np.float32)
    voxels[0, 1:-1, 1:, 1] = 1 + np.arange(np.prod(grid.shape)).reshape(grid.shape)[1:-1, 1:, 1]
    for order in ("KJI", "JKI", "IJK"):
        plan = structs.replace(PLAN, orientation=order)
        image, placement = prepare_image(Scan(voxels, grid), plan)
        assert image.shape[1:] == placement.prepared.shape
        native = voxels[(slice(None), *placement.box)]
        turned = native[0].transpose(["IJK".index(letter) for letter in order])
        assert turned.shape == placement.native_shape
        assert np.array_equal(placement.to_native(turned), voxels[0])


def test_monais_inverse_brings_native_axes_and_the_crop_home():
    grid = Grid((9, 8, 7), np.diag([1.0, 2.0, 0.5, 1.0]))
    voxels = np.zeros((1, 9, 8, 7), np.float32)
    voxels[0, 2:7, 1:5, 1:6] = np.random.default_rng(2).uniform(1, 2, (5, 4, 5))
    plan = structs.replace(PLAN, spacing_mm=(0.5, 2.0, 1.0))
    steps = array_pipeline(plan)
    image = steps(as_meta_tensor(Scan(voxels, grid)))
    home = steps.inverse(image)
    assert isinstance(home, MetaTensor)
    assert np.allclose(home.affine, grid.affine)
    inner = voxels[0, 2:7, 1:5, 1:6]
    expected = (inner - inner.mean()) / inner.std()
    assert np.allclose(home[0, 2:7, 1:5, 1:6], expected, atol=1e-5)
    assert not home.numpy()[:, :2].any()


def test_intensities_are_scaled_before_they_are_resampled():
    grid = Grid((12, 10, 8), np.diag([1.0, 1.0, 1.0, 1.0]))
    voxels = np.random.default_rng(1).uniform(5, 9, (1, *grid.shape)).astype(np.float32)
    image, _ = prepare_image(Scan(voxels, grid), PLAN)
    scaled = (voxels[0] - voxels[0].mean()) / voxels[0].std()
    expected = by_scikit_image(scaled.T.astype(float), image.shape[1:])
    assert np.abs(image[0].numpy() - expected).max() < 2e-5


def test_what_the_body_encloses_belongs_to_it_and_what_is_outside_stays_0():
    voxels = np.zeros((2, 12, 12, 12), np.float32)
    voxels[0, 2:10, 2:10, 2:10] = np.random.default_rng(3).uniform(1, 2, (8, 8, 8))
    voxels[0, 2, 2, 2] = 0  # outside, in a corner of the box
    voxels[:, 5, 5, 5] = 0  # enclosed
    voxels[1, 4:6, 4:6, 4] = 3
    rule = Normalisation(nonzero=True)
    plan = structs.replace(
        PLAN, spacing_mm=(1.0, 1.0, 1.0), channels=("a", "b"), normalisation=(rule, rule)
    )
    image, _ = prepare_image(Scan(voxels, Grid((12, 12, 12), np.eye(4))), plan)
    inner = voxels[:, 2:10, 2:10, 2:10]
    body = np.ones((8, 8, 8), bool)
    body[0, 0, 0] = False
    for channel, values in zip(image.numpy(), inner, strict=True):
        scaled = (values - values[body].mean()) / values[body].std()
        assert np.allclose(channel.transpose()[body], scaled[body], atol=1e-4)
        assert channel[0, 0, 0] == 0


def test_colours_of_a_picture_become_0_to_1():
    voxels = np.linspace(0, 255, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    plan = structs.replace(
        PLAN,
        spacing_mm=(1.0, 1.0, 1.0),
        crop="none",
        normalisation=(Normalisation(scheme="rgb01"),),
    )
    image, _ = prepare_image(Scan(voxels, Grid((8, 8, 1), np.eye(4))), plan)
    assert np.allclose(image[0].numpy().T, voxels[0] / 255)


def test_labels_before_become_masks_where_the_network_sees_them():
    grid = Grid((10, 12, 14), np.eye(4))
    voxels = np.zeros((1, *grid.shape), np.float32)
    voxels[0, 1:9, 1:11, 2:12] = 1.0
    values = np.zeros(grid.shape, np.uint8)
    values[3:6, 3:7, 4:8], values[6:8, 3:7, 4:8] = 2, 5
    labels = LabelMap(values, grid, LabelTable.of({2: "a", 5: "b"}))
    plan = structs.replace(PLAN, spacing_mm=(0.5, 1.0, 1.0), previous_labels=2)
    scan = Scan(voxels, grid)
    placement = Placement.of(grid, plan, nonzero_box(voxels))
    masks = previous_masks(labels, scan, plan, placement)
    assert masks.shape == (2, 20, 10, 8)
    cropped = values[1:9, 1:11, 2:12].T
    for mask, value in zip(masks.numpy(), (2, 5), strict=True):
        assert np.array_equal(mask, np.repeat(cropped == value, 2, axis=0))


def test_labels_of_a_scan_need_its_box():
    with pytest.raises(PlanError, match=r"box=placement\.box"):
        array_pipeline(PLAN, labels=True)
