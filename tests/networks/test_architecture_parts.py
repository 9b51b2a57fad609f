"""Parts of architectures against what they stand for: places of voxels, cells, published starts."""

import pytest
import torch
from torch import nn

from medseg.networks import deeplab, fcn, pspnet
from medseg.networks.blocks.atrous import pool_to
from medseg.networks.blocks.layers import pad_to_nodes, upsample
from medseg.networks.encoders import EncoderSettings
from medseg.planning.stages import Stages


@pytest.mark.parametrize("size", [1, 2, 5, 9, 16, 17])
@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_enlarging_puts_every_node_back_where_it_came_from(size, stride):
    ramp = pad_to_nodes(torch.arange(1.0, size + 1)[None, None, :, None], (stride, 1))
    grown = upsample(ramp[:, :, ::stride], ramp.shape[2:])
    nodes = slice(None, None, stride)
    torch.testing.assert_close(grown[:, :, nodes], ramp[:, :, nodes])
    assert ramp.shape[2] >= size
    assert (ramp.shape[2] - 1) % stride == 0


@pytest.mark.parametrize("size", [(6, 7, 1), (13, 6, 9)])
def test_pooling_to_cells_is_adaptive_pooling(size):
    x = torch.randn(2, 3, *size)
    cells = tuple(min(4, n) for n in size)
    torch.testing.assert_close(pool_to(x, cells), nn.functional.adaptive_avg_pool3d(x, cells))


def test_learned_enlarging_begins_as_linear_interpolation():
    layer = fcn.LearnedUpsample(3, (2, 4, 1))
    layer.interpolate_linearly()
    x = torch.randn(1, 3, 4, 3, 5)
    size = torch.Size((7, 9, 5))
    torch.testing.assert_close(layer(x, size), upsample(x, size))


@pytest.mark.parametrize(("variant", "skips"), [(32, 0), (16, 1), (8, 2)])
def test_fcn_begins_with_the_coarse_scores_alone(variant, skips):
    encoder = EncoderSettings(width=0.125)
    network = fcn.build(
        fcn.Settings(encoder=encoder, variant=variant),
        spatial_dims=2,
        in_channels=1,
        out_channels=3,
    ).eval()
    assert len(network.skip_scores) == skips
    image = torch.randn(1, 1, 33, 65)
    with torch.no_grad():
        coarse = network.score(network.encoder(image)[-1])
        for size in ((3, 5), (5, 9))[:skips]:
            coarse = upsample(coarse, torch.Size(size))
        torch.testing.assert_close(network(image), upsample(coarse, image.shape[2:]))


def stages(*patch):
    dims = len(patch)
    steps = ((1,) * dims, *(((2,) * dims,) * 3))
    return Stages(
        patch=patch, features=(32, 64, 128, 128), strides=steps, kernels=((3,) * dims,) * 4
    )


def test_rates_of_deeplab_keep_their_share_of_the_map():
    assert deeplab.suggest(stages(40, 56, 40)).rates == ((2, 3, 2), (4, 5, 4), (5, 8, 5))
    assert deeplab.suggest(stages(512, 512)).rates == ((6, 6), (12, 12), (18, 18))
    assert deeplab.published_rates((8, 16)) == ((12, 6), (24, 12), (36, 18))


def test_pspnet_suggests_only_bins_that_the_map_can_fill():
    assert pspnet.suggest(stages(40, 56, 40)).bins == (1, 2, 3, 6)
    assert pspnet.suggest(stages(12, 12, 8)).bins == (1, 2, 3)


def test_the_output_stride_follows_the_patch():
    assert deeplab.suggest(stages(40, 56, 40)).encoder.output_stride == 4
    assert deeplab.suggest(stages(1, 512, 512)).encoder.output_stride == 8
