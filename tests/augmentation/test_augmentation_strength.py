"""The standard preset changes patches as much as MONAI's transforms, with which medseg began."""

import math

import monai.transforms
import numpy as np
import pytest
import torch

from augmentation.parts import batch, generator, part_of
from medseg.planning import augmentation_preset

SIZE, COUNT = (20, 20, 20), 400
STANDARD = {component.name: component.settings for component in augmentation_preset("standard")}
THEIRS = {
    "affine": monai.transforms.RandAffine(
        prob=0.5, rotate_range=(math.radians(20),) * 3, scale_range=(0.15,) * 3
    ),
    "mirror": monai.transforms.Compose(
        [monai.transforms.RandFlip(prob=0.5, spatial_axis=axis) for axis in range(3)]
    ),
    "gaussian_noise": monai.transforms.RandGaussianNoise(prob=0.1, std=0.1),
    "gaussian_blur": monai.transforms.RandGaussianSmooth(
        prob=0.1, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0), sigma_z=(0.5, 1.0)
    ),
    "brightness": monai.transforms.RandScaleIntensity(prob=0.15, factors=0.25),
    # MONAI's own downsampling, "nearest", moves the image by up to half a voxel of its labels
    "low_resolution": monai.transforms.RandSimulateLowResolution(
        prob=0.1,
        zoom_range=(0.5, 1.0),
        downsample_mode="nearest-exact",
        upsample_mode="trilinear",
    ),
    "gamma": monai.transforms.RandAdjustContrast(prob=0.2, gamma=(0.7, 1.5), retain_stats=True),
}


def image_of(name):
    """Places of voxels where they move, so that a change is a distance; smooth blobs elsewhere."""
    if name not in ("affine", "mirror"):
        return batch(SIZE, count=1, channels=1)[0][0]
    axes = (torch.arange(n) - (n - 1) / 2 for n in SIZE)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def changes(image, changed):
    """How many of the samples are changed, and by how much on average, away from the edges."""
    inner = (..., *(slice(6, 14),) * 3)
    squared = [float(((after - image)[inner] ** 2).mean()) for after in changed]
    touched = [value for value in squared if value > 0]
    return len(touched) / len(squared), float(np.sqrt(np.mean(touched)))


@pytest.mark.parametrize("name", STANDARD)
def test_the_standard_preset_is_as_strong_as_the_transforms_of_monai(name):
    image = image_of(name)
    part, draws, label = part_of(name, SIZE, **STANDARD[name]), generator(), torch.zeros(1, *SIZE)
    ours = [part.batched(image[None], label, draws)[0][0] for _ in range(COUNT)]
    transform = THEIRS[name].set_random_state(seed=0)
    theirs = [torch.as_tensor(transform(image)) for _ in range(COUNT)]
    (our_share, our_change), (their_share, their_change) = (
        changes(image, ours),
        changes(image, theirs),
    )
    assert our_share == pytest.approx(their_share, abs=0.08)
    assert our_change == pytest.approx(their_change, rel=0.15)


def test_the_standard_preset_has_these_parts_and_no_other():
    assert set(STANDARD) == set(THEIRS)
