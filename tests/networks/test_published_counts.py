"""Parameters as published: what an architecture is called here is what others call so."""

import itertools

import pytest
import torch

from medseg.networks import deeplab, fcn, pspnet, unet
from medseg.networks.blocks.cost import cost_of
from medseg.networks.encoders import EncoderSettings


def parameters(part, settings, *, channels=3, classes=21):
    with torch.device("meta"):
        network = part.build(settings, spatial_dims=2, in_channels=channels, out_channels=classes)
    return sum(p.numel() for p in network.parameters())


def encoder(name, output_stride=None):
    return EncoderSettings(name=name, norm="batch", output_stride=output_stride)


def test_fcn8s_over_vgg16():
    """134 M parameters for 21 classes: Long et al. (CVPR 2015), table 1 (FCN-VGG16)."""
    settings = fcn.Settings(encoder=encoder("vgg16_bn"), variant=8, head_width=4096)
    assert parameters(fcn, settings) == pytest.approx(134e6, rel=0.01)


def test_unet_of_2015():
    """31.0 M parameters: the five stages and two classes of figure 1 of Ronneberger et al. (2015).

    Written out: 18 convolutions of 3 x 3 and 4 of 2 x 2 transposed, all with bias, and the head.
    """
    widths = (64, 128, 256, 512, 1024)
    down = [(1, 64), (64, 64)] + [
        pair for low, high in itertools.pairwise(widths) for pair in ((low, high), (high, high))
    ]
    up = [pair for width in widths[:-1] for pair in ((2 * width, width), (width, width))]
    published = sum(9 * one * two + two for one, two in down + up)
    published += sum(4 * 2 * width * width + width for width in widths[:-1]) + 2 * 64 + 2
    assert published == pytest.approx(31.0e6, rel=0.01)
    settings = unet.Settings(features=widths, downsampling="max_pool", deep_supervision=False)
    assert parameters(unet, settings, channels=1, classes=2) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # segmentation_models.pytorch, issue 819: DeepLabV3Plus("resnet50", classes=21)
        ("resnet50", 26_682_725),
        # The same head over 24 and 1,280 channels and an encoder of 2,223,872: 4.38 M
        ("mobilenet_v2", 4_383_653),
    ],
)
def test_deeplab_v3plus(name, published):
    settings = deeplab.Settings(encoder=encoder(name, 16))
    assert parameters(deeplab, settings) == pytest.approx(published, rel=0.001)


def test_deeplab_v3_over_resnet50():
    """torchvision's deeplabv3_resnet50 has 42,004,074, of which its auxiliary head 2,365,205."""
    settings = deeplab.Settings(
        encoder=encoder("resnet50", 8), version="v3", separable=False, convolutions=1
    )
    assert parameters(deeplab, settings) == pytest.approx(42_004_074 - 2_365_205, rel=0.001)


def test_pspnet_over_resnet50():
    """48.97 M with the auxiliary head: mmsegmentation's PSPNet R-50-D8 for 19 classes.

    Its stem of three 3-wide convolutions, in the place of one of 7, has 0.02 M more than ours.
    """
    settings = pspnet.Settings(encoder=encoder("resnet50", 8))
    assert parameters(pspnet, settings, classes=19) == pytest.approx(48.97e6, rel=0.01)


def test_attention_gates_add_three_small_convolutions_each():
    """Oktay et al. (2018), figure 2: one on the skip, one on the gating signal, one for weights."""
    features = (8, 16)
    plain = parameters(unet, unet.Settings(features=features))
    gated = parameters(unet, unet.Settings(features=features, attention=True))
    assert gated - plain == 8 * 4 * 4 + (16 * 4 + 4) + (4 + 1)


def test_cost_counts_a_convolution_as_the_formula_does():
    convolution = torch.nn.Conv3d(2, 5, 3, padding=1)
    cost = cost_of(convolution, channels=2, size=(4, 6, 7))
    assert cost.parameters == 2 * 5 * 27 + 5
    assert cost.gflops == pytest.approx(2 * (2 * 5 * 27) * (4 * 6 * 7) / 1e9)
