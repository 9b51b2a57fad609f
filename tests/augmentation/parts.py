"""Parts built by name and batches to change, for the tests of augmentation."""

import torch

from medseg.augmentation import PACKAGE, PatchAxes
from medseg.planning import Component
from medseg.planning.plan import settings_of
from medseg.runtime import registry


def part_of(name, size, *, spacing_mm=None, mirrored=None, **settings):
    module = registry.load(PACKAGE, name)
    component = Component(name=name, settings={"probability": 1.0, **settings})
    axes = PatchAxes(spacing_mm or (1.0,) * len(size), mirrored or tuple(range(len(size))))
    return module.build(settings_of(component, module.Settings, package=PACKAGE), axes)


def batch(size, *, count=3, channels=2, seed=0):
    """Smooth blobs with noise, and labels 0, 1, 2, 255 that follow them."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    radius = sum(axis**2 for axis in axes)
    image = torch.exp(-2 * radius) + 0.1 * torch.randn(count, channels, *size, generator=generator)
    label = (radius < 0.8).long() + (radius < 0.3).long()
    label[..., 0] = 255
    label[0] = 1
    return image, label.repeat(count, *(1,) * len(size))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)
