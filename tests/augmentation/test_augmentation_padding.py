"""Padding: constants on the sides of a patch, background below them, the rest as it was."""

import pytest
import torch

from augmentation.parts import batch, generator, part_of

SIZES = [(20, 18, 16), (24, 20)]


def changed(size, *, count=16, **settings):
    image, label = batch(size, count=count)
    part = part_of("padding", size, **settings)
    after, label_after = part.batched(image, label, generator(1))
    return image, label, after, label_after


def box_of(mask):
    """First and last voxel of a mask along each axis; the mask is a box."""
    spans = [mask.nonzero()[:, axis] for axis in range(mask.dim())]
    box = tuple(slice(int(span.min()), int(span.max()) + 1) for span in spans)
    assert mask[box].all()
    return box


@pytest.mark.parametrize("size", SIZES)
def test_what_is_left_is_a_box_that_keeps_image_and_labels(size):
    image, label, after, label_after = changed(size, keep_statistics=False)
    widths = []
    for n in range(len(image)):
        kept = (after[n] == image[n]).all(0)
        box = box_of(kept)
        padding = after[n][:, ~kept]
        assert (padding == padding[:, :1]).all()
        assert torch.equal(label_after[n][box], label[n][box])
        assert not label_after[n][~kept].any()
        for span, voxels in zip(box, size, strict=True):
            widths += [span.start / voxels, 1 - span.stop / voxels]
    assert max(widths) <= 0.3 + 0.5 / min(size)
    assert 0.35 < sum(width == 0 for width in widths) / len(widths) < 0.75


@pytest.mark.parametrize("zeros", [0.0, 1.0])
def test_sides_are_filled_by_the_range_of_each_channel_or_with_zeros(zeros):
    settings = {"keep_statistics": False, "level": [-1, -1], "zero_share": zeros}
    image, _, after, _ = changed((20, 18, 16), **settings)
    for before, padded in zip(image.flatten(0, 1), after.flatten(0, 1), strict=True):
        filled = padded[padded != before]
        expected = 0 if zeros else 2 * before.min() - before.max()
        torch.testing.assert_close(filled, torch.full_like(filled, float(expected)))


def test_a_channel_keeps_its_mean_and_standard_deviation():
    image, _, after, _ = changed((20, 18, 16))
    axes = (2, 3, 4)
    assert not torch.allclose(image, after)
    torch.testing.assert_close(after.mean(axes), image.mean(axes), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after.std(axes), image.std(axes), atol=1e-5, rtol=1e-4)
