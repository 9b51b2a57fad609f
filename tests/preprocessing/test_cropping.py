"""Padding is cut off before the network and its voxels come back as background, exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Invertd

from medseg.errors import GeometryError, PlanError
from medseg.inference import Predictor
from medseg.planning import Component, Normalisation, Plan
from medseg.preprocessing import Placement, array_pipeline, pipeline, prepare_image, prepare_labels
from medseg.reading.monai_reader import as_meta_tensor
from medseg.runtime.device import choose_device
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.volume.bounding_box import content_box
from medseg.volume.resampling import resample_labels
from medseg.writing import write_labels, write_scan
from strategies import grids

TABLE = LabelTable.of({1: "a", 2: "b", 3: "c"})
SIDES = st.tuples(*[st.tuples(*[st.integers(0, 4)] * 2)] * 3)


def plan(spacing=(2.0, 2.5, 3.0), *, channels=1, rule=None, **more):
    return Plan(
        spacing_mm=spacing,
        channels=("MR",) * channels,
        normalisation=(rule or Normalisation(),) * channels,
        crop="padding",
        patch=(8, 8, 8),
        batch=1,
        network=Component(name="unet"),
        **more,
    )


def padded(grid, sides, *, value=0.0, channels=1, seed=0):
    """Noise on a grid with padding around it: the scan, and the noise's box."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(1, 2, (channels, *grid.shape)).astype(np.float32)
    voxels = np.pad(noise, ((0, 0), *sides), constant_values=value)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world([-before for before, _ in sides])
    box = tuple(slice(low, low + n) for (low, _), n in zip(sides, grid.shape, strict=True))
    return Scan(voxels, Grid(voxels.shape[1:], affine)), box


def sheared(grid, share):
    affine = grid.affine.copy()
    affine[:3, 2] += share * affine[:3, 1]
    return Grid(grid.shape, affine)


def large(grid):
    """At least two voxels along each axis, so that no slice of noise is a single corner."""
    return Grid(tuple(max(n, 2) for n in grid.shape), grid.affine)


@settings(max_examples=80, deadline=None)
@given(grids(largest=8), SIDES, st.sampled_from([0.0, -1024.0, 3071.0]), st.integers(1, 2))
def test_any_constant_padding_is_found_and_nothing_else(grid, sides, value, channels):
    scan, box = padded(large(grid), sides, value=value, channels=channels)
    assert content_box(scan.voxels) == box


def test_zeros_around_what_one_channel_holds_are_no_padding():
    voxels = np.zeros((2, 9, 9, 9), np.int16)
    voxels[0, 3:5, 3:5, 3:5] = 5
    voxels[1, 2:4, 3:6, 4:8] = 7
    assert content_box(voxels) == (slice(2, 5), slice(3, 6), slice(3, 8))


def test_white_below_and_black_above_are_both_found():
    voxels = np.random.default_rng(0).uniform(1, 2, (1, 6, 6, 6))
    voxels = np.pad(voxels, ((0, 0), (2, 0), (0, 0), (0, 0)), constant_values=255)
    voxels = np.pad(voxels, ((0, 0), (0, 0), (0, 3), (0, 0)), constant_values=0)
    assert content_box(voxels) == (slice(2, 8), slice(0, 6), slice(0, 6))


def test_a_scan_of_one_value_is_kept_whole():
    image, placement = prepare_image(
        Scan(np.full((1, 4, 5, 6), 3.0), Grid((4, 5, 6), np.eye(4))), plan((1.0, 1.0, 1.0))
    )
    assert placement.box == (slice(0, 4), slice(0, 5), slice(0, 6))
    assert not image.any()


@settings(max_examples=60, deadline=None)
@given(
    grids(largest=7),
    SIDES,
    st.sampled_from([0.0, 0.4]),
    st.sampled_from(["RAS", "LPS", "PSR"]),
    st.tuples(*[st.floats(0.7, 4)] * 3),
    st.integers(0, 99),
)
def test_a_padded_scan_is_the_scan_itself_to_the_network_and_back(
    grid, sides, share, axes, spacing, seed
):
    """The oracle is the scan without padding: prepared and brought home, it has to be the same."""
    grid = sheared(large(grid), share)
    scan, box = padded(grid, sides, seed=seed)
    bare = Scan(scan.voxels[(slice(None), *box)], grid)
    chosen = plan(spacing, orientation=axes)
    image, placement = prepare_image(scan, chosen)
    expected, placement_of_bare = prepare_image(bare, chosen)
    np.testing.assert_allclose(image.numpy(), expected.numpy(), atol=1e-4)
    assert placement.prepared.same_as(placement_of_bare.prepared)
    classes = np.random.default_rng(seed).integers(0, 4, placement.native_shape).astype(np.uint8)
    home = placement.to_native(classes)
    assert np.array_equal(home[box], placement_of_bare.to_native(classes))
    assert np.count_nonzero(home) == np.count_nonzero(home[box])
    assert home.shape == scan.grid.shape


@settings(max_examples=40, deadline=None)
@given(grids(largest=7), SIDES, st.sampled_from(["RAS", "PSR"]), st.integers(0, 99))
def test_every_form_crops_alike_and_comes_back_alike(grid, sides, axes, seed):
    scan, _ = padded(large(grid), sides, channels=2, seed=seed)
    chosen = plan(channels=2, orientation=axes)
    image, placement = prepare_image(scan, chosen)
    for lazy in (False, True):
        steps = pipeline(chosen, lazy=lazy)
        item = steps({"image": as_meta_tensor(scan)}, start=1)
        assert torch.equal(item["image"].as_tensor(), image)
    values = np.random.default_rng(seed).integers(0, 4, placement.prepared.shape).astype(np.uint8)
    item["pred"] = MetaTensor(torch.from_numpy(values)[None])
    home = Invertd("pred", steps, "image")(item)["pred"]
    expected = placement.to_native(resample_labels(values, placement.native_shape))
    assert np.array_equal(home[0].numpy(), expected)
    np.testing.assert_allclose(home.affine.numpy(), scan.grid.affine, atol=1e-9)


def test_labels_at_the_scans_spacing_come_back_as_they_were():
    grid = Grid((7, 8, 6), np.diag([-1.0, 1.5, 2.0, 1.0]))
    scan, box = padded(grid, ((3, 1), (0, 4), (2, 2)))
    values = np.zeros(scan.grid.shape, np.uint8)
    values[box] = np.random.default_rng(1).integers(0, 4, grid.shape)
    chosen = plan((1.0, 1.5, 2.0))
    labels = LabelMap(values, scan.grid, TABLE)
    prepared = prepare_labels(labels, chosen, box)
    placement = Placement.of(scan.grid, chosen, box)
    assert np.array_equal(placement.to_native(prepared), values)
    of_labels = array_pipeline(chosen, labels=True, box=box)
    whole = of_labels.inverse(of_labels(as_meta_tensor(Scan(values[None], scan.grid))))
    assert np.array_equal(whole[0].numpy(), values)
    with pytest.raises(PlanError, match=r"box=placement\.box"):
        prepare_labels(labels, chosen)


@pytest.mark.parametrize("lazy", [False, True])
def test_labels_from_a_file_are_cropped_as_their_scan(tmp_path, lazy):
    scan, box = padded(Grid((9, 8, 7), np.diag([2.0, -2.0, 3.0, 1.0])), ((3, 2), (4, 0), (0, 5)))
    values = np.zeros(scan.grid.shape, np.uint8)
    values[4, 6, 2] = 1
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "a"}))
    pair = {
        "image": write_scan(scan, tmp_path / "scan.nii.gz"),
        "label": write_labels(labels, tmp_path / "labels.nii.gz"),
    }
    chosen = plan((2.0, 2.0, 3.0))
    steps = pipeline(chosen, label="label", lazy=lazy)
    both = steps(pair)
    image, placement = prepare_image(scan, chosen)
    assert placement.box == box
    assert torch.equal(both["image"].as_tensor(), image)
    assert np.array_equal(both["label"][0].numpy(), prepare_labels(labels, chosen, box))
    assert np.array_equal(steps.inverse(both)["label"][0].numpy(), values)


def test_voxels_of_0_do_not_count_and_stay_0():
    voxels = np.random.default_rng(0).normal(300, 50, (1, 8, 8, 8)).astype(np.float32)
    brain = np.zeros((8, 8, 8), bool)
    brain[2:6, 1:7, 3:8] = True
    brain[3, 3, 4] = False  # 0 within it
    voxels[0, ~brain] = 0
    scan = Scan(voxels, Grid((8, 8, 8), np.eye(4)))
    rule = Normalisation(nonzero=True)
    image, placement = prepare_image(scan, plan((1.0, 1.0, 1.0), rule=rule))
    seen = brain[placement.box]
    inside = image[0].numpy()[seen]
    assert abs(inside.mean()) < 1e-5
    assert inside.std() == pytest.approx(1, abs=0.01)
    assert not image[0].numpy()[~seen].any()
    assert voxels[0, brain].mean() > 250  # what is given is not changed


def test_each_channel_has_a_rule_of_its_own():
    voxels = np.random.default_rng(0).normal(300, 50, (2, 8, 8, 8)).astype(np.float32)
    voxels[:, 4:] = 0
    rules = (Normalisation(nonzero=True), Normalisation(scheme="none"))
    chosen = Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("MR", "SUV"),
        normalisation=rules,
        patch=(8, 8, 8),
        batch=1,
        network=Component(name="unet"),
    )
    image, _ = prepare_image(Scan(voxels, Grid((8, 8, 8), np.eye(4))), chosen)
    assert np.array_equal(image[1].numpy(), voxels[1])
    assert abs(float(image[0, :4].mean())) < 1e-5


def test_nonzero_goes_with_zscore_only():
    with pytest.raises(PlanError, match=r"'nonzero' goes with .* not with 'clip_zscore'"):
        Normalisation(scheme="clip_zscore", nonzero=True)


class BrightVoxels(torch.nn.Module):
    """Label 1 wherever the prepared image is above its mean."""

    def forward(self, image):
        return torch.cat((-image, image), dim=1)


@pytest.mark.parametrize("roi", [False, True])
def test_a_predictor_labels_a_padded_scan_as_the_scan(roi):
    from medseg.inference import Options

    scan, box = padded(Grid((9, 10, 8), np.diag([-1.0, 1.0, 1.0, 1.0])), ((4, 2), (3, 0), (0, 5)))
    bare = Scan(scan.voxels[(slice(None), *box)], scan.grid.cropped(box))
    network = Predictor(
        BrightVoxels(), plan((1.0, 1.0, 1.0)), LabelTable.of({1: "a"}), choose_device("cpu")
    )
    options = Options(uncertainty=True)
    expected = network.run(bare, options)
    if roi:
        options = Options(roi=(slice(2, 9), slice(0, 13), slice(1, 12)), uncertainty=True)
    found = network.run(scan, options)
    whole, uncertain = np.zeros(scan.grid.shape), np.zeros(scan.grid.shape)
    whole[box] = expected.labels.values
    uncertain[box] = expected.uncertainty.voxels[0]
    for answer, wanted in ((found.labels.values, whole), (found.uncertainty.voxels[0], uncertain)):
        if roi:
            outside = np.ones(wanted.shape, bool)
            outside[options.roi] = False
            wanted[outside] = 0
        assert np.array_equal(answer, wanted)
    assert expected.labels.values.any()


def test_a_roi_in_the_padding_alone_is_background():
    from medseg.inference import Options

    scan, _ = padded(Grid((9, 10, 8), np.eye(4)), ((6, 0), (0, 0), (0, 0)))
    network = Predictor(
        BrightVoxels(), plan((1.0, 1.0, 1.0)), LabelTable.of({1: "a"}), choose_device("cpu")
    )
    found = network.run(scan, Options(roi=(slice(0, 4), slice(0, 10), slice(0, 8))))
    assert not found.labels.values.any()


def test_a_prepared_image_without_its_box_is_refused():
    scan, _ = padded(Grid((9, 10, 8), np.eye(4)), ((4, 2), (3, 0), (0, 5)))
    chosen = plan((1.0, 1.0, 1.0))
    network = Predictor(BrightVoxels(), chosen, LabelTable.of({1: "a"}), choose_device("cpu"))
    image, placement = prepare_image(scan, chosen)
    expected = network.predict(scan).values
    again = network.predict_prepared(image, scan.grid, placement.box).values
    assert np.array_equal(again, expected)
    with pytest.raises(GeometryError, match="give the grid and box"):
        network.predict_prepared(image, scan.grid)
