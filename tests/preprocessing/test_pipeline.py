"""MONAI carries: from files to network input and back, the same voxels by every way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, Invertd, Lambdad, MapTransform, Spacingd

from dicom_phantom import Series, random_stored, rotation
from medseg.errors import GeometryError, InputError, ReadError
from medseg.phantoms import abdominal_ct, default_grid
from medseg.planning import Component, Normalisation, Plan
from medseg.preprocessing import Placement, array_pipeline, pipeline, prepare_image, prepare_labels
from medseg.reading import Policies, read_labels, read_scan
from medseg.reading.monai_reader import MedsegReader, as_meta_tensor, scan_of
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.volume.resampling import resample_labels, resized
from medseg.writing import write_labels, write_scan
from strategies import grids

TURN = rotation((1.0, 0.1, -0.2, 0.3))
SPACINGS = st.tuples(*[st.floats(0.7, 4)] * 3)
AXES = ("RAS", "LPS", "PSR")


def plan(spacing=(2.0, 2.5, 3.0), *, channels=("MR",), scheme="zscore", **more):
    return Plan(
        spacing_mm=spacing,
        channels=channels,
        normalisation=(Normalisation(scheme=scheme),) * len(channels),
        patch=(8, 8, 8),
        batch=1,
        network=Component(name="unet"),
        **more,
    )


def write_series(folder, *, tilt_mm=0.0, skip=()):
    step = TURN @ np.array([0.0, tilt_mm, 2.5])
    series = Series(random_stored(), orientation=TURN[:, :2].T.ravel(), step_mm=step)
    series.write(folder, skip=skip)
    return folder


def sheared(grid, share):
    affine = grid.affine.copy()
    affine[:3, 2] += share * affine[:3, 1]
    return Grid(grid.shape, affine)


def through(steps, scan):
    """A scan in memory through a dictionary pipeline, but for its LoadImaged."""
    return steps({"image": as_meta_tensor(scan)}, start=1)


def brought_home(labels, placement):
    """By the placement, as inference brings classes home."""
    return placement.to_native(resample_labels(labels, placement.native_shape))


@settings(max_examples=60, deadline=None)
@given(
    grids(largest=9),
    SPACINGS,
    st.sampled_from([0.0, 0.4, -0.7]),
    st.sampled_from(AXES),
    st.integers(1, 2),
    st.integers(0, 99),
)
def test_every_inverse_brings_labels_to_the_voxels_of_the_placement(
    grid, spacing, share, axes, channels, seed
):
    grid, rng = sheared(grid, share), np.random.default_rng(seed)
    scan = Scan(rng.normal(size=(channels, *grid.shape)), grid)
    chosen = plan(spacing, channels=("MR",) * channels, orientation=axes)
    placement = Placement.of(grid, chosen)
    values = rng.integers(0, 4, placement.prepared.shape)
    expected = brought_home(values.astype(np.uint8), placement)
    steps = pipeline(chosen)
    for kind in (torch.uint8, torch.int64, torch.float32):
        item = {**through(steps, scan), "pred": MetaTensor(torch.from_numpy(values)[None].to(kind))}
        home = Invertd("pred", steps, "image", nearest_interp=True)(item)["pred"]
        assert np.array_equal(home[0].numpy(), expected)
        np.testing.assert_allclose(home.affine.numpy(), grid.affine, atol=1e-9)
    truth = rng.integers(0, 4, grid.shape).astype(np.uint8)
    labels = LabelMap(truth, grid, LabelTable.of({1: "a", 2: "b", 3: "c"}))
    of_labels = array_pipeline(chosen, labels=True)
    prepared = of_labels(as_meta_tensor(Scan(labels.values[None], grid)))
    assert np.array_equal(prepared[0].numpy(), prepare_labels(labels, chosen))
    native = of_labels.inverse(prepared)
    assert np.array_equal(native[0].numpy(), brought_home(prepared[0].numpy(), placement))


@settings(max_examples=40, deadline=None)
@given(grids(largest=9), SPACINGS, st.sampled_from([0.0, 0.5]), st.sampled_from(AXES))
def test_every_form_gives_the_same_image(grid, spacing, share, axes):
    grid = sheared(grid, share)
    scan = Scan(np.random.default_rng(0).normal(size=(2, *grid.shape)).astype(np.float32), grid)
    chosen = plan(spacing, channels=("T1", "T2"), orientation=axes)
    expected, placement = prepare_image(scan, chosen)
    for lazy in (False, True):
        image = through(pipeline(chosen, lazy=lazy), scan)["image"]
        assert torch.equal(image.as_tensor(), expected)
        np.testing.assert_allclose(image.affine.numpy(), placement.prepared.affine, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(grids(largest=9), st.sampled_from(AXES))
def test_an_image_at_its_own_spacing_comes_back_as_it_was(grid, axes):
    straight = Placement.of(grid, plan(orientation=axes)).reorientation.target
    spacing = tuple(float(mm) for mm in straight.spacing_mm)
    voxels = np.random.default_rng(0).normal(size=(2, *grid.shape)).astype(np.float32)
    steps = array_pipeline(plan(spacing, channels=("T1", "T2"), scheme="none", orientation=axes))
    back = steps.inverse(steps(as_meta_tensor(Scan(voxels, grid))))
    assert np.array_equal(back.numpy(), voxels)
    np.testing.assert_allclose(back.affine.numpy(), grid.affine, atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_image_comes_back_interpolated_where_it_was(share):
    grid = sheared(Grid((12, 11, 10), np.diag([-1.0, 1.5, 2.0, 1.0])), share)
    world = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)
    ramp = (world @ [0.3, -0.2, 0.5]).reshape(1, *grid.shape)
    steps = array_pipeline(plan((1.0, 1.0, 1.0), scheme="none"))
    back = steps.inverse(steps(as_meta_tensor(Scan(ramp, grid))))
    assert tuple(back.shape) == ramp.shape
    inside = (0, *[slice(3, -3)] * 3)
    np.testing.assert_allclose(back.numpy()[inside], ramp[inside], atol=0.03)


def test_probabilities_are_interpolated_even_where_nearest_is_asked_for():
    grid = Grid((12, 11, 10), np.diag([1.0, 1.0, 1.0, 1.0]))
    steps = pipeline(plan((2.0, 2.0, 2.0)))
    item = through(steps, Scan(np.random.default_rng(0).normal(size=(1, *grid.shape)), grid))
    ramp = torch.linspace(0.1, 0.9, 6)[None, :, None, None].expand(1, *item["image"].shape[1:])
    item["pred"] = MetaTensor(ramp.clone())
    home = Invertd("pred", steps, "image")(item)["pred"]
    assert len(torch.unique(home.as_tensor())) > 6


def test_the_phantom_comes_home_as_by_the_placement():
    scan, truth = abdominal_ct(1, resized(default_grid(), (64, 60, 24)))
    chosen = plan((4.0, 5.0, 7.0))
    steps = pipeline(chosen)
    item = through(steps, scan)
    prepared = prepare_labels(truth, chosen)
    item["pred"] = MetaTensor(torch.from_numpy(prepared)[None])
    home = Invertd("pred", steps, "image")(item)["pred"][0].numpy()
    assert np.array_equal(home, brought_home(prepared, Placement.of(scan.grid, chosen)))
    assert (home == truth.values).mean() > 0.97


@pytest.mark.parametrize("tilt_mm", [0.0, 1.2])
@pytest.mark.parametrize("skip", [(), (2,)], ids=["whole", "repaired"])
@pytest.mark.parametrize("lazy", [False, True])
def test_dicom_from_files_and_from_memory_is_the_same(tmp_path, tilt_mm, skip, lazy):
    folder = write_series(tmp_path / "series", tilt_mm=tilt_mm, skip=skip)
    policies = Policies(missing="interpolate")
    steps = pipeline(plan(), reader=MedsegReader(policies=policies), lazy=lazy)
    item = steps({"image": folder})
    scan = read_scan(folder, policies=policies)
    expected, placement = prepare_image(scan, plan())
    assert torch.equal(item["image"].as_tensor(), expected)
    assert item["image"].dtype == torch.float32
    labels = np.random.default_rng(0).integers(0, 4, expected.shape[1:]).astype(np.uint8)
    item["pred"] = MetaTensor(torch.from_numpy(labels)[None])
    home = Invertd("pred", steps, "image")(item)["pred"]
    assert np.array_equal(home[0].numpy(), brought_home(labels, placement))


@pytest.mark.parametrize("tilt_mm", [0.0, 1.2])
@pytest.mark.parametrize("skip", [(), (2,)], ids=["whole", "repaired"])
def test_what_is_known_of_a_series_goes_all_the_way(tmp_path, tilt_mm, skip):
    folder = write_series(tmp_path / "series", tilt_mm=tilt_mm, skip=skip)
    policies = Policies(missing="interpolate")
    image = pipeline(plan(), reader=MedsegReader(policies=policies))({"image": folder})["image"]
    scan, carried = read_scan(folder, policies=policies), scan_of(image)
    assert image.meta["modality"] == scan.modality == "CT"
    assert image.meta["notes"].splitlines() == list(scan.provenance.notes)
    np.testing.assert_allclose(image.pixdim.numpy(), carried.grid.spacing_mm)
    np.testing.assert_array_equal(image.meta["original_affine"], scan.grid.affine)
    for part in ("format", "files", "series_uid", "instance_uids", "notes"):
        assert getattr(carried.provenance, part) == getattr(scan.provenance, part)
    native, expected = carried.provenance.native, scan.provenance.native
    assert (native is None) == (expected is None) == (not skip)
    if skip:
        assert native.instance_uids == expected.instance_uids
        for own, other in zip(native.grids, expected.grids, strict=True):
            assert np.array_equal(own.affine, other.affine)


def test_whole_and_repaired_scans_make_a_batch(tmp_path):
    whole = write_series(tmp_path / "whole", tilt_mm=1.2)
    repaired = write_series(tmp_path / "repaired", tilt_mm=1.2, skip=(2,))
    steps = pipeline(plan(), reader=MedsegReader(policies=Policies(missing="interpolate")))
    items = Dataset([{"image": str(whole)}, {"image": str(repaired)}], steps)
    batch = next(iter(DataLoader(items, batch_size=2)))["image"]
    assert batch.shape[:2] == (2, 1)
    assert ["interpolated" in notes for notes in batch.meta["notes"]] == [False, True]


def test_a_label_map_goes_along(tmp_path):
    grid = Grid((9, 8, 7), np.diag([2.0, -2.0, 3.0, 1.0]))
    values = np.random.default_rng(0).integers(0, 3, grid.shape).astype(np.uint16)
    labels = LabelMap(values, grid, LabelTable.of({1: "a", 2: "b"}))
    write_scan(Scan(values[None].astype(np.float32), grid), tmp_path / "scan.nii.gz")
    write_labels(labels, tmp_path / "labels.nii.gz")
    pair = {"image": tmp_path / "scan.nii.gz", "label": tmp_path / "labels.nii.gz"}
    for lazy in (False, True):
        steps = pipeline(plan(), label="label", lazy=lazy)
        both = steps(pair)
        assert np.array_equal(both["label"][0].numpy(), prepare_labels(labels, plan()))
        assert both["label"].shape == both["image"].shape
        home = steps.inverse(both)["label"][0].numpy()
        assert np.array_equal(
            home, brought_home(both["label"][0].numpy(), Placement.of(grid, plan()))
        )


def test_labels_as_dicom_seg_lie_on_the_tilted_series(tmp_path):
    folder = write_series(tmp_path / "series", tilt_mm=1.2)
    scan = read_scan(folder)
    values = np.random.default_rng(0).integers(0, 2, scan.grid.shape).astype(np.uint8)
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "a"}), provenance=scan.provenance)
    write_labels(labels, tmp_path / "labels.dcm")
    both = pipeline(plan(), label="label")({"image": folder, "label": tmp_path / "labels.dcm"})
    expected = prepare_labels(read_labels(tmp_path / "labels.dcm", like=scan), plan())
    assert np.array_equal(both["label"][0].numpy(), expected)
    assert expected.any()


def test_a_scan_in_memory_and_back():
    grid = Grid((3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]))
    scan = Scan(np.arange(60, dtype=np.uint16).reshape(1, 3, 4, 5), grid, modality="CT")
    back = scan_of(as_meta_tensor(scan))
    assert np.array_equal(back.voxels, scan.voxels)
    assert np.array_equal(back.grid.affine, grid.affine)
    assert (back.modality, back.provenance) == (scan.modality, scan.provenance)


def test_preparing_leaves_the_scan_as_it_was():
    voxels = np.random.default_rng(0).normal(size=(1, 5, 5, 5)).astype(np.float32)
    scan = Scan(voxels.copy(), Grid((5, 5, 5), np.eye(4)))
    prepare_image(scan, plan((1.0, 1.0, 1.0)))
    assert np.array_equal(scan.voxels, voxels)


def write_cube(path, size=8, value=1.0):
    grid = Grid((size,) * 3, np.diag([2.0, 2.0, 2.0, 1.0]))
    write_scan(Scan(np.full((1, *grid.shape), value, np.float32), grid), path)
    return path


def test_channels_in_files_of_their_own(tmp_path):
    paths = [write_cube(tmp_path / f"{n}.nii.gz", value=n) for n in range(2)]
    two = plan(channels=("T1", "T2"), scheme="none")
    image = pipeline(two)({"image": paths})["image"]
    assert image.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 1], abs=1e-5)
    with pytest.raises(InputError, match=r"1 channel.*2 \(T1, T2\)"):
        pipeline(two)({"image": paths[0]})
    other = write_cube(tmp_path / "other.nii.gz", size=9)
    with pytest.raises(
        GeometryError, match=r"'other\.nii\.gz' does not lie on the grid of '0\.nii"
    ):
        pipeline(two)({"image": [paths[0], other]})


def test_errors_are_those_of_medseg(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8bno gzip")
    with pytest.raises(ReadError, match=r"broken\.nii\.gz"):
        pipeline(plan())({"image": tmp_path / "broken.nii.gz"})
    with pytest.raises(ReadError, match="does not exist"):
        pipeline(plan())({"image": tmp_path / "absent.nii.gz"})
    bad = write_cube(tmp_path / "bad.nii.gz", value=np.nan)
    with pytest.raises(InputError, match=r"bad\.nii\.gz holds 512 NaN"):
        pipeline(plan())({"image": bad})


def test_a_transform_that_fails_is_named(tmp_path):
    steps = pipeline(plan(), transforms=[Lambdad("image", lambda image: image @ torch.ones(3))])
    with pytest.raises(InputError, match=r"^the transform Lambdad fails on a prepared scan"):
        steps({"image": write_cube(tmp_path / "scan.nii.gz")})


class Shrinkd(MapTransform):
    """Leaves out every other voxel and tells nobody."""

    def __call__(self, data):
        return {key: data[key][:, ::2] for key in self.keys}


class Misplaced(MapTransform):
    """Says another spacing than the voxels have."""

    def __call__(self, data):
        image = data["image"].clone()
        image.affine = torch.diag(torch.tensor([1.0, 2.0, 2.0, 1.0]))
        return {"image": image}


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (Spacingd("image", pixdim=(1.0, 1.0, 1.0)), "Spacingd"),
        (Shrinkd("image"), "Shrinkd"),
        (Misplaced("image"), "Misplaced"),
    ],
)
def test_a_transform_that_moves_voxels_is_named(tmp_path, transform, name):
    harmless = Lambdad("image", lambda image: image * 2)
    steps = pipeline(plan((2.0, 2.0, 2.0)), transforms=[harmless, transform])
    with pytest.raises(InputError, match=f"^the transform {name} moves voxels") as raised:
        steps({"image": write_cube(tmp_path / "scan.nii.gz")})
    assert raised.value.code == "MOVED_VOXELS"


def test_a_transform_put_in_by_hand_is_named_by_its_trace(tmp_path):
    load, *rest = pipeline(plan((2.0, 2.0, 2.0))).transforms
    steps = Compose([load, Spacingd("image", pixdim=(1.4, 1.0, 1.0)), *rest])
    with pytest.raises(RuntimeError) as raised:
        steps({"image": write_cube(tmp_path / "scan.nii.gz", size=7)})
    assert "Spacing" in str(raised.value.__cause__)


def test_readers_of_monai_that_are_not_asked_warn_nobody(caplog, recwarn):
    pipeline(plan())
    assert not caplog.records
    assert not recwarn.list


def test_transforms_of_ones_own_see_what_the_network_sees(tmp_path):
    path = write_cube(tmp_path / "scan.nii.gz")
    seen = []
    look = Lambdad("image", lambda image: seen.append(image.clone()) or image + 1)
    image = pipeline(plan(), transforms=[look])({"image": path})["image"]
    expected, _ = prepare_image(read_scan(path), plan())
    assert torch.equal(seen[0].as_tensor(), expected)
    assert torch.equal(image.as_tensor(), expected + 1)
