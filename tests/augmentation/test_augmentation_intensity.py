"""Changes of intensity, against their formulas."""

import math

import monai.transforms
import numpy as np
import pytest
import torch
from monai.networks.layers import gaussian_1d

from augmentation.parts import batch, generator, part_of

SIZES = [(14, 12, 10), (18, 13)]


def changed(part, image, seed=0):
    """The image after the part, and what was drawn."""
    draw = part.draw(generator(seed), image.shape)
    label = torch.zeros((len(image), *image.shape[2:]), dtype=torch.long)
    return part.apply(image, label, draw)[0], draw


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_keeps_mean_and_deviation(inverted):
    image, _ = batch((12, 11, 10), count=4)
    after, _ = changed(part_of("gamma", (12, 11, 10), inverted=inverted), image)
    axes = (2, 3, 4)
    torch.testing.assert_close(after.mean(axes), image.mean(axes), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.std(axes), image.std(axes), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_gamma_is_that_of_monai(inverted, keep):
    image, _ = batch((12, 11, 10), count=1, channels=1)
    part = part_of("gamma", (12, 11, 10), inverted=inverted, keep_statistics=keep)
    after, draw = changed(part, image)
    theirs = monai.transforms.AdjustContrast(
        float(draw["gamma"]), invert_image=inverted, retain_stats=keep
    )
    torch.testing.assert_close(after[0], theirs(image[0]), atol=1e-4, rtol=1e-4)


def test_noise_has_the_drawn_deviation_and_no_mean():
    image = torch.full((6, 1, 40, 40, 40), 2.0)
    after, draw = changed(part_of("gaussian_noise", (40, 40, 40), noise_std=[0.05, 0.3]), image)
    noise = (after - image).flatten(1)
    torch.testing.assert_close(noise.std(1), draw["std"], rtol=0.02, atol=0)
    assert (noise.mean(1).abs() < 5 * draw["std"] / 40**1.5).all()


@pytest.mark.parametrize("size", SIZES)
def test_blur_has_the_kernel_of_monai(size):
    part = part_of("gaussian_blur", size, sigma_voxels=[0.5, 1.2])
    image = torch.zeros((2, 1, *size))
    middle = tuple(n // 2 for n in size)
    image[(slice(None), 0, *middle)] = 1
    after, draw = changed(part, image)
    assert torch.allclose(after.flatten(1).sum(1), torch.ones(2), atol=1e-4)
    for n in range(2):
        line = after[(n, 0, slice(None), *middle[1:])]
        kernel = gaussian_1d(draw["sigma"][n, 0])
        reach = len(kernel) // 2
        ours = line[middle[0] - reach : middle[0] + reach + 1]
        torch.testing.assert_close(ours / ours.sum(), kernel / kernel.sum(), atol=1e-4, rtol=1e-3)


def test_blur_does_not_darken_the_edges():
    after, _ = changed(part_of("gaussian_blur", (9, 9)), torch.full((2, 1, 9, 9), 4.0))
    assert torch.allclose(after, torch.tensor(4.0), atol=1e-5)


def test_brightness_and_shift_are_a_factor_and_an_offset():
    image, _ = batch((9, 8, 7), count=5)
    after, draw = changed(part_of("brightness", (9, 8, 7)), image)
    assert torch.allclose(after, image * draw["factor"].view(-1, 1, 1, 1, 1))
    assert ((draw["factor"] >= 0.75) & (draw["factor"] <= 1.25)).all()
    after, draw = changed(part_of("intensity_shift", (9, 8, 7)), image)
    assert torch.allclose(after, image + draw["offset"].view(-1, 1, 1, 1, 1))
    assert (draw["offset"].abs() <= 0.1).all()


def test_contrast_stretches_about_the_mean_within_the_old_range():
    image, _ = batch((9, 8, 7), count=4)
    after, draw = changed(part_of("contrast", (9, 8, 7), factor=[0.5, 2.0]), image)
    for n in range(4):
        for channel in range(2):
            before = image[n, channel]
            stretched = before.mean() + draw["factor"][n] * (before - before.mean())
            expected = stretched.clamp(before.min(), before.max())
            torch.testing.assert_close(after[n, channel], expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("zoom", [0.5, 0.63, 0.9, 1.0])
def test_low_resolution_is_torch_interpolation_down_and_up(size, zoom):
    image, _ = batch(size, count=2)
    after, _ = changed(part_of("low_resolution", size, zoom=[zoom, zoom]), image)
    fewer = [round(float(torch.tensor(n * zoom).round())) for n in size]
    down = torch.nn.functional.interpolate(image, size=fewer, mode="nearest-exact")
    mode = "trilinear" if len(size) == 3 else "bilinear"
    expected = torch.nn.functional.interpolate(down, size=size, mode=mode)
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_cutout_fills_boxes_of_the_drawn_edges_with_the_mean(size):
    image, _ = batch(size, count=4)
    after, draw = changed(part_of("cutout", size, edge_share=[0.3, 0.6]), image)
    for n in range(4):
        touched = (after[n, 0] != image[n, 0]).nonzero()
        edges = touched.amax(0) - touched.amin(0) + 1
        expected = draw["edge"][n, 0] * torch.tensor(size)
        assert ((edges - expected).abs() <= 1).all()
        assert len(touched) == edges.prod()
        filled = after[n, 0][tuple(touched.T)]
        assert torch.allclose(filled, image[n, 0].mean(), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_bias_field_is_the_exponential_of_legendre_polynomials(size):
    image = torch.rand((2, 1, *size)) + 1
    after, draw = changed(part_of("bias_field", size), image)
    low = image.amin(tuple(range(1, image.dim())), keepdim=True)
    coefficients = draw["coefficients"].double().numpy()
    grids = [np.linspace(-1, 1, n) for n in size]
    evaluate = (
        np.polynomial.legendre.leggrid3d if len(size) == 3 else np.polynomial.legendre.leggrid2d
    )
    for n in range(2):
        orders = np.indices(coefficients[n].shape).sum(0)
        assert (coefficients[n][(orders == 0) | (orders > 3)] == 0).all()
        field = np.exp(evaluate(*grids, coefficients[n]))
        expected = low[n, 0].numpy() + (image[n, 0] - low[n, 0]).numpy() * field
        assert np.allclose(after[n, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(24, 36, 48), (24, 36)])
@pytest.mark.parametrize("ghosts", [2, 3, 4])
def test_ghosts_lie_at_even_distances_with_the_drawn_intensity(size, ghosts):
    image = torch.zeros((6, 1, *size))
    at = tuple(n // 4 for n in size)
    image[(slice(None), 0, *at)] = 1
    part = part_of("ghosting", size, ghosts=[ghosts, ghosts], intensity=[0.3, 0.9])
    after, draw = changed(part, image)
    for n in range(6):
        axis, strength = int(draw["axis"][n]) - 2, float(draw["intensity"][n])
        expected = torch.zeros(size)
        line = [slice(i, i + 1) for i in at]
        line[axis] = slice(None)
        expected[tuple(line)] += strength / size[axis]  # the central line keeps the mean
        for ghost in range(ghosts):
            copy = list(at)
            copy[axis] = (at[axis] + ghost * size[axis] // ghosts) % size[axis]
            expected[tuple(copy)] -= strength / ghosts
        expected[at] += 1
        torch.testing.assert_close(after[n, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 16, 16), (32, 32)])
def test_a_spike_is_one_point_of_k_space(size):
    part = part_of("spike", size, amplitude_std=[0.4, 0.4])
    image = torch.zeros((1, 1, *size))
    draw = part.draw(generator(), image.shape)
    cycles = [3, -2, 5][: len(size)]
    draw["cycles"] = torch.tensor([[k / n for k, n in zip(cycles, size, strict=True)]])
    after, _ = part.apply(image, image[:, 0].long(), draw)
    assert float(after.std()) == pytest.approx(0.4 / math.sqrt(2), rel=1e-2)
    spectrum = torch.fft.fftn(after[0, 0]).abs()
    peaks = (spectrum > 0.01 * spectrum.max()).nonzero().tolist()
    expected = [
        [k % n for k, n in zip(row, size, strict=True)] for row in (cycles, [-k for k in cycles])
    ]
    assert sorted(peaks) == sorted(expected)


def test_spikes_have_the_drawn_fineness():
    part = part_of("spike", (8, 8, 8), cycles_per_voxel=[0.1, 0.4])
    length = part.draw(generator(), (500, 1, 8, 8, 8))["cycles"].norm(dim=1)
    assert 0.1 - 1e-6 <= length.min() < 0.12
    assert 0.38 < length.max() <= 0.4 + 1e-6


@pytest.mark.parametrize("size", [(16, 14, 12), (24, 20)])
def test_motion_takes_lines_of_k_space_from_moved_images(size):
    part = part_of("motion", size, movements=1, rotation_degrees=0.0, translation_mm=3.0)
    image, _ = batch(size, count=4, channels=1)
    after, draw = changed(part, image)
    for n in range(4):
        axis, time = int(draw["axis"][n]) - 2, float(draw["time"][n, 0])
        backward = torch.eye(len(size) + 1)
        backward[:-1, -1] = -draw["translation_mm"][n, 0]
        mover = monai.transforms.Affine(affine=backward, padding_mode="border", image_only=True)
        moved = torch.fft.fft(mover(image[n]).as_tensor()[0], dim=axis)
        still = torch.fft.fft(image[n, 0], dim=axis)
        lines = np.fft.fftfreq(size[axis]) + 0.5
        late = lines < time if time < 0.5 else lines > time
        index = torch.as_tensor(np.flatnonzero(late))
        still.index_copy_(axis, index, moved.index_select(axis, index))
        torch.testing.assert_close(
            after[n, 0], torch.fft.ifft(still, dim=axis).real, atol=1e-4, rtol=1e-4
        )


def test_motion_keeps_the_central_line_and_so_the_place_of_things():
    size = (20, 20, 20)
    image, _ = batch(size, count=6, channels=1)
    after, draw = changed(part_of("motion", size, movements=4, translation_mm=5.0), image)
    for n in range(6):
        axis = int(draw["axis"][n]) - 1
        torch.testing.assert_close(after[n].mean(axis), image[n].mean(axis), atol=1e-4, rtol=1e-4)
