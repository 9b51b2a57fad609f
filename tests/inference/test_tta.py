"""The mean over mirror images knows no sides, and is the network itself where there is no axis."""

from itertools import combinations

import pytest
import torch
from torch import nn

from medseg.inference import Predictor
from medseg.inference.tta import FlipTTA
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid
from toy_model import tiny_model


class Lopsided(nn.Module):
    """Logits that differ from side to side along every axis."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.slope = nn.Parameter(torch.randn(1, 3, 4, 5, 6, generator=generator))

    def forward(self, tiles):
        return tiles * self.slope + torch.roll(tiles, 1, dims=-1)


@pytest.fixture
def tiles():
    return torch.randn(2, 1, 4, 5, 6, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_a_mirrored_tile_gives_mirrored_logits(tiles, axes):
    mirrored = FlipTTA(Lopsided(), axes)
    with torch.inference_mode():
        plain = mirrored(tiles)
        for axis in axes:
            turned = mirrored(tiles.flip(axis + 2)).flip(axis + 2)
            assert torch.allclose(turned, plain, atol=1e-6)
        assert not torch.allclose(Lopsided()(tiles.flip(2)).flip(2), Lopsided()(tiles))


def test_it_is_the_mean_over_all_images(tiles):
    network, axes = Lopsided(), (0, 2)
    with torch.inference_mode():
        images = [
            network(tiles.flip([axis + 2 for axis in some])).flip([axis + 2 for axis in some])
            for count in range(3)
            for some in combinations(axes, count)
        ]
        assert len(images) == 4
        mean = torch.stack(images).mean(dim=0)
        assert torch.allclose(FlipTTA(network, axes)(tiles), mean, atol=1e-6)


def test_without_axes_it_is_the_network(tiles):
    with torch.inference_mode():
        assert torch.equal(FlipTTA(Lopsided(), ())(tiles), Lopsided()(tiles))


def test_a_predictor_mirrors_along_the_axes_of_its_training(tmp_path):
    scan, _ = abdominal_ct(1, ct_grid(shape=(16, 14, 8), spacing_mm=(20.0, 19.0, 30.0)))
    package = tiny_model(tmp_path / "model")
    plain = Predictor.load(package, device="cpu")
    mirrored = Predictor.load(package, device="cpu", tta=True)
    assert package.manifest.plan.mirror_axes == (0, 1, 2)
    assert len(mirrored.network.flips) == 8
    before, after = plain.predict(scan), mirrored.predict(scan)
    assert after.grid.same_as(scan.grid)
    assert not (after.values == before.values).all()
