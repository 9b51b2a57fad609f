"""Voxels that move go where the drawn transform says, and labels with them."""

import math

import monai.transforms
import numpy as np
import pytest
import torch

from augmentation.parts import batch, generator, part_of
from medseg.augmentation import build_augmentation
from medseg.augmentation._geometry import positions_mm
from medseg.planning import Component, Normalisation, Plan


def centre_of_mass(image):
    """Of one channel, in voxels."""
    axes = torch.meshgrid(*(torch.arange(n).float() for n in image.shape), indexing="ij")
    return np.array([float((axis * image).sum() / image.sum()) for axis in axes])


def ball(size, centre, radius=2.5):
    axes = torch.meshgrid(*(torch.arange(n).float() for n in size), indexing="ij")
    squared = sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True))
    return torch.exp(-squared / radius)


SPACINGS = {
    "3-D": ((40, 36, 32), (1.0, 1.0, 1.0)),
    "3-D, unlike spacing": ((48, 44, 24), (0.8, 1.0, 2.0)),
    "2-D": ((48, 40), (1.0, 1.2)),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "spacing"), SPACINGS.values(), ids=SPACINGS)
def test_a_marked_voxel_goes_where_the_drawn_map_says(size, spacing, seed):
    part = part_of("affine", size, spacing_mm=spacing, shear=0.1, translation_mm=2.0)
    offset = np.array([3.0, -4.0, 2.0])[: len(size)]
    middle = (np.array(size) - 1) / 2
    image = ball(size, middle + offset)[None, None]
    label = (image[:, 0] > 0.2).long()
    draw = part.draw(generator(seed), image.shape)
    after, label_after = part.apply(image, label, draw)
    forward_mm = np.linalg.inv(part.backward(draw)[0].double().numpy())
    moved_mm = forward_mm @ (offset * spacing) + draw["translation_mm"][0].numpy()
    expected = middle + moved_mm / spacing
    assert np.abs(centre_of_mass(after[0, 0]) - expected).max() < 0.15
    assert np.abs(centre_of_mass(label_after[0].float()) - expected).max() < 0.5


@pytest.mark.parametrize("size", [(16, 15, 14), (18, 13)])
def test_affine_interpolates_as_monai_does(size):
    part = part_of("affine", size, scale=[0.8, 1.2])
    image, label = batch(size, count=1)
    draw = part.draw(generator(1), image.shape)
    backward = torch.eye(len(size) + 1)
    backward[:-1, :-1] = part.backward(draw)[0]
    theirs = monai.transforms.Affine(affine=backward, padding_mode="zeros", image_only=True)
    ours, label_after = part.apply(image, label, draw)
    torch.testing.assert_close(ours[0], theirs(image[0]).as_tensor(), atol=1e-4, rtol=1e-4)
    nearest = theirs(label.float(), mode="nearest").as_tensor()
    assert (label_after == nearest).float().mean() > 0.999


def test_rotation_and_scale_are_those_drawn():
    spacing = (1.0, 2.0, 1.0)
    part = part_of("affine", (8, 8, 8), spacing_mm=spacing, rotation_degrees=30.0)
    draw = part.draw(generator(), (500, 1, 8, 8, 8))
    forward_mm = torch.linalg.inv(part.backward(draw))
    assert torch.allclose(torch.linalg.det(forward_mm), draw["scale"].prod(1), rtol=1e-4)
    gram = forward_mm.mT @ forward_mm
    assert torch.allclose(gram, torch.diag_embed(draw["scale"] ** 2), atol=1e-4)
    degrees = draw["angles"].abs().amax(0) * 180 / math.pi
    assert degrees[0] <= 5.001  # about the first axis the second and third are mixed
    assert 28 < degrees[1] <= 30.001
    assert degrees[2] <= 5.001
    assert 0.85 <= draw["scale"].min() < 0.86
    assert 1.14 < draw["scale"].max() <= 1.15001


def test_a_drawn_scale_above_1_makes_things_larger():
    size = (33, 33, 33)
    part = part_of("affine", size, rotation_degrees=0.0, scale=[1.4, 1.4])
    image = ball(size, (16, 16, 16), radius=30.0)[None, None]
    label = (image[:, 0] > 0.5).long()
    _, after = part.batched(image, label, generator())
    assert float(after.sum() / label.sum()) == pytest.approx(1.4**3, rel=0.05)


@pytest.mark.parametrize("size", [(7, 6, 5), (8, 5)])
def test_mirrored_axes_are_those_drawn(size):
    axes = tuple(range(len(size)))
    part = part_of("mirror", size, probability=0.5, mirrored=axes)
    image, label = batch(size, count=8)
    draw = part.draw(generator(), image.shape)
    after, label_after = part.apply(image, label, draw)
    for n in range(8):
        flipped = [axis for axis in axes if draw["mirrored"][n, axis]]
        assert torch.equal(after[n], image[n].flip([axis + 1 for axis in flipped]))
        assert torch.equal(label_after[n], label[n].flip(flipped))


def test_each_axis_is_mirrored_half_the_time():
    part = part_of("mirror", (4, 4, 4), probability=0.5, mirrored=(0, 2))
    share = part.draw(generator(), (4000, 1, 4, 4, 4))["mirrored"].float().mean(0)
    assert ((share - 0.5).abs() < 0.03).all()


@pytest.mark.parametrize(
    ("size", "spacing"), [((40, 36, 32), (1.0, 1.0, 1.5)), ((48, 44), (1.0, 1.0))]
)
@pytest.mark.parametrize("seed", range(3))
def test_every_voxel_comes_from_where_the_drawn_bending_says(size, spacing, seed):
    part = part_of(
        "elastic", size, spacing_mm=spacing, control_point_mm=16.0, displacement_mm=[6.0, 6.0]
    )
    places = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in size), indexing="ij"))
    label = (places[:1] >= size[0] // 2).long()
    draw = part.draw(generator(seed), (1, len(size), *size))
    after, label_after = part.apply(places[None], label, draw)
    mm = torch.tensor(spacing).view(-1, *(1,) * len(size))
    target_mm = positions_mm(size, spacing, places.device)
    source = places + (part.source_mm(target_mm, draw)[0] - target_mm) / mm
    last = torch.tensor(size).view(mm.shape) - 1
    inside = ((source >= 0) & (source <= last)).all(0)
    assert inside.float().mean() > 0.7
    assert (source - places).abs().amax() > 1
    torch.testing.assert_close(after[0][:, inside], source[:, inside], atol=1e-3, rtol=0)
    nearest = (source[0].round() >= size[0] // 2).long()
    assert (label_after[0] == nearest)[inside].float().mean() > 0.999


def test_the_bending_is_a_cubic_spline_of_its_control_points():
    from scipy.interpolate import BSpline

    part = part_of("elastic", (21, 9), control_point_mm=4.0, displacement_mm=[1.0, 1.0])
    draw = part.draw(generator(), (1, 1, 21, 9))
    control = draw["control_mm"][0, 0].double().numpy()
    target_mm = positions_mm((21, 9), (1.0, 1.0), torch.device("cpu"))
    bent_mm = part.source_mm(target_mm, draw)[0, 0] - target_mm[0]
    for axis, size in enumerate((21, 9)):
        count = control.shape[axis]
        centres = np.arange(count) - (count - 1) / 2
        knots = np.arange(-2, count + 2) + centres[0]
        spline = BSpline(knots, np.eye(count), 3, extrapolate=False)
        basis = spline((np.arange(size) - (size - 1) / 2) / 4.0)
        control = np.moveaxis(np.tensordot(basis, control, (1, axis)), 0, axis)
    assert np.allclose(bent_mm.numpy(), control, atol=1e-5)


def test_the_strongest_bending_never_folds():
    size = (24, 24, 24)
    part = part_of("elastic", size, control_point_mm=8.0, displacement_mm=[3.2, 3.2])
    for seed in range(5):
        draw = part.draw(generator(seed), (2, 1, *size))
        draw["control_mm"] = draw["control_mm"].sign() * 3.2
        target_mm = positions_mm(size, (1.0, 1.0, 1.0), torch.device("cpu"))
        field = part.source_mm(target_mm, draw) - target_mm
        gradients = [torch.gradient(field[:, axis], dim=(1, 2, 3)) for axis in range(3)]
        jacobian = torch.stack([torch.stack(row, -1) for row in gradients], -2) + torch.eye(3)
        assert torch.linalg.det(jacobian).min() > 0
    with pytest.raises(ValueError, match="displacement_mm"):
        part_of("elastic", size).settings.__class__(control_point_mm=8.0, displacement_mm=(0, 3.3))


def test_a_wider_patch_leaves_no_empty_corners():
    size = (24, 24, 24)
    settings = {"probability": 1.0, "rotation_degrees": 20.0, "scale": [1.0, 1.0]}
    plan = Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=size,
        batch=8,
        network=Component(name="unet"),
        augmentation=(Component(name="affine", settings=settings),),
    )
    pipeline = build_augmentation(plan)
    image, label = torch.ones((8, 1, *pipeline.region)), torch.ones((8, *pipeline.region))
    after, label_after = pipeline.batched(image, label, generator())
    assert after.shape == (8, 1, *size)
    assert label_after.mean() > 0.99
    narrow = image[..., :24, :24, :24], label[..., :24, :24, :24]
    alone, _ = pipeline.batched(*narrow, generator())
    assert alone.mean() < after.mean()


@pytest.mark.parametrize("size", [(15, 14, 13), (16, 9)])
def test_no_rotation_at_all_leaves_all_as_it_is(size):
    part = part_of("affine", size, rotation_degrees=0.0, scale=[1.0, 1.0])
    image, label = batch(size, count=1)
    after, label_after = part.batched(image, label, generator())
    torch.testing.assert_close(after, image, atol=1e-5, rtol=1e-5)
    assert torch.equal(label_after, label)
