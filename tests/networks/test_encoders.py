"""What every encoder keeps; a new file in medseg/networks/encoders is tested with no edit here."""

import itertools
import math

import pytest
import torch

from medseg.errors import PlanError
from medseg.networks.blocks.factory import (
    StepPool,
    levels_of,
    multiple_of_8,
)
from medseg.networks.blocks.instance_norm import InstanceNorm
from medseg.networks.blocks.layers import initialise
from medseg.networks.encoders import EncoderSettings, build_encoder, names, plan_layout
from medseg.networks.encoders._inverted import Squeeze

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = names()
EVERY = [(name, dims) for name in NAMES for dims in (2, 3)]
NORMS = ("instance", "batch")
DILATED = [(2, 4), (2, 16), (3, 4), (3, 8), (3, 16)]


def small(name, dims, *, channels=2, **settings):
    """An eighth of the published width, with random norms as after training."""
    torch.manual_seed(0)
    chosen = EncoderSettings(**{"name": name, "width": 0.125, **settings})
    encoder = build_encoder(chosen, spatial_dims=dims, in_channels=channels)
    initialise(encoder)
    for key, value in encoder.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1)
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return encoder


def image(*size, channels=2):
    return torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(1))


def check_sizes(encoder, size):
    features = encoder(image(*size))
    assert [feature.shape[1] for feature in features] == list(encoder.channels)
    for feature, reduction in zip(features, encoder.layout.reductions, strict=True):
        wanted = [math.ceil(n / factor) for n, factor in zip(size, reduction, strict=True)]
        assert list(feature.shape[2:]) == wanted
        assert torch.isfinite(feature).all()


@pytest.mark.parametrize(("name", "dims"), EVERY)
@pytest.mark.parametrize("norm", NORMS)
def test_sizes_round_up_and_tiny_images_train(name, dims, norm):
    encoder = small(name, dims, norm=norm).train()
    for size in ((1, 1, 1), (2, 2, 2), (3, 1, 4), (5, 4, 3), (18, 9, 4)):
        check_sizes(encoder, size[:dims])


@pytest.mark.parametrize("name", NAMES)
def test_strides_are_chosen_axis_by_axis(name):
    strides = ((2, 2, 1), (2, 2, 1), (2, 2, 2), (1, 2, 2), (2, 1, 2))
    encoder = small(name, 3, strides=strides)
    assert encoder.layout.reductions[-1] == (16, 16, 8)
    check_sizes(encoder, (11, 18, 5))


def backward(encoder, size):
    features = encoder(image(*size))
    sum((feature * torch.randn_like(feature)).mean() for feature in features).backward()


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_gradient_reaches_every_parameter(name, dims):
    """In evaluation, because norms that look at the map undo a constant in front of them."""
    encoder = small(name, dims, norm="batch").eval()
    backward(encoder, (20, 12, 4)[:dims])
    silent = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [(1, 1), (13, 10)])
def test_gradients_are_finite_in_training(name, norm, size):
    encoder = small(name, 2, norm=norm).train()
    backward(encoder, size)
    grads = [parameter.grad for parameter in encoder.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_one_voxel_still_says_something(name, dims):
    """Instance norm of one voxel would make every deep feature 0, whatever the image shows."""
    encoder = small(name, dims).eval()
    with torch.no_grad():
        one, other = (encoder(value * torch.ones(1, 2, *(1,) * dims)) for value in (1.0, -3.0))
    assert all(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_deterministic_and_sees_samples_one_by_one(name):
    encoder = small(name, 2, norm="batch").eval()
    batch = torch.cat((image(19, 30), -image(19, 30)))
    with torch.no_grad():
        first, second, alone = encoder(batch), encoder(batch), encoder(batch[1:])
    for a, b, c in zip(first, second, alone, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a[1:], c, rtol=1e-3, atol=1e-4 * float(c.abs().max()))


@pytest.mark.parametrize(
    ("name", "dims", "output_stride"),
    [(name, 2, 8) for name in NAMES] + [("resnet18", dims, most) for dims, most in DILATED],
)
def test_a_dilated_encoder_answers_as_the_striding_one(name, dims, output_stride, monkeypatch):
    """Same weights, finer grid: at the coarse places the same numbers (the à trous rule).

    Not with a squeeze, whose mean is over more voxels then.
    """
    monkeypatch.setattr(Squeeze, "forward", lambda _self, x: x)
    striding = small(name, dims, norm="batch").eval()
    dilated = small(name, dims, norm="batch", output_stride=output_stride).eval()
    dilated.load_state_dict(striding.state_dict())
    size = (21, 34, 3)[:dims]
    with torch.no_grad():
        coarse, fine = striding(image(*size)), dilated(image(*size))
    check_sizes(dilated, size)
    assert max(dilated.layout.reductions[-1]) == output_stride
    for level, (a, b) in enumerate(zip(coarse, fine, strict=True)):
        pairs = zip(
            striding.layout.reductions[level], dilated.layout.reductions[level], strict=True
        )
        every = tuple(slice(None, None, there // here) for there, here in pairs)
        torch.testing.assert_close(b[:, :, *every], a, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_do_not_depend_on_strides(name):
    def shapes(**settings):
        state = small(name, 3, width=0.02, **settings).state_dict()
        return {key: value.shape for key, value in state.items()}

    flat = ((2, 2, 1),) * 5
    assert shapes() == shapes(output_stride=4) == shapes(strides=flat) == shapes(norm="instance")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # torchvision's documentation of each network, less its classifier: 11 689 512 - 513 000
        ("resnet18", 11.176512),
        ("resnet34", 21.284672),  # 21 797 672 - 513 000
        ("resnet50", 23.508032),  # 25 557 032 - 2 049 000
        ("resnet101", 42.500160),  # 44 549 160 - 2 049 000
        ("mobilenet_v2", 2.223872),  # 3 504 872 - 1 281 000
        ("mobilenet_v3", 2.971952),  # 5 483 032 - 2 511 080
        ("vgg16_bn", 14.723136),  # 138 365 992 - 123 642 856
        ("efficientnet_b0", 4.007548),  # 5 288 548 - 1 281 000
    ],
)
def test_published_parameter_counts(name, millions):
    with torch.device("meta"):
        encoder = build_encoder(EncoderSettings(name=name), spatial_dims=2, in_channels=3)
    assert sum(p.numel() for p in encoder.parameters()) == round(millions * 1e6)


def expected_keys(name):
    """torchvision's keys of convolutions, by the rules it names them with."""
    depths = {
        "resnet18": (2, 2, 2, 2),
        "resnet34": (3, 4, 6, 3),
        "resnet50": (3, 4, 6, 3),
        "resnet101": (3, 4, 23, 3),
    }
    if name in depths:
        convs = 3 if name in ("resnet50", "resnet101") else 2
        blocks = [(i, j) for i, n in enumerate(depths[name], start=1) for j in range(n)]
        first = 1 if convs == 3 else 2
        return {
            "conv1.weight",
            *(f"layer{i}.{j}.conv{k}.weight" for i, j in blocks for k in range(1, convs + 1)),
            *(f"layer{i}.0.downsample.0.weight" for i in range(first, 5)),
        }
    if name == "vgg16_bn":
        places = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
        return {f"features.{place}.weight" for place in places}
    if name == "mobilenet_v2":
        wide = [f"features.{i}.conv.{k}.weight" for i in range(2, 18) for k in ("0.0", "1.0", "2")]
        thin = [f"features.1.conv.{k}.weight" for k in ("0.0", "1")]
        return {"features.0.0.weight", "features.18.0.weight", *wide, *thin}
    if name == "mobilenet_v3":
        parts = {1: ("0.0", "1.0")}
        for i in range(2, 16):
            squeezed = i in (4, 5, 6, 11, 12, 13, 14, 15)
            parts[i] = ("0.0", "1.0", *(("2.fc1", "2.fc2", "3.0") if squeezed else ("2.0",)))
        cells = [f"features.{i}.block.{k}.weight" for i, ks in parts.items() for k in ks]
        return {"features.0.0.weight", "features.16.0.weight", *cells}
    counts = (1, 2, 2, 3, 3, 4, 1)
    keys = {f"features.1.0.block.{k}.weight" for k in ("0.0", "1.fc1", "1.fc2", "2.0")}
    for stage, count in itertools.islice(enumerate(counts, start=1), 1, None):
        for k, j in itertools.product(("0.0", "1.0", "2.fc1", "2.fc2", "3.0"), range(count)):
            keys.add(f"features.{stage}.{j}.block.{k}.weight")
    return {"features.0.0.weight", "features.8.0.weight", *keys}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "xception"])
def test_keys_are_torchvisions(name):
    with torch.device("meta"):
        settings = EncoderSettings(name=name, norm="batch")
        encoder = build_encoder(settings, spatial_dims=2, in_channels=3)
    state = encoder.state_dict()
    convs = {key for key, value in state.items() if value.ndim == 4}
    assert convs == expected_keys(name)
    norms = {key.rpartition(".")[0] for key in state if key.endswith("running_mean")}
    kept = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert all({f"{norm}.{part}" for part in kept} <= set(state) for norm in norms)
    biased = name == "vgg16_bn"
    for conv in convs:
        owner = conv.removesuffix(".weight")
        assert (f"{owner}.bias" in state) == (biased or ".fc" in owner)


@pytest.mark.parametrize(("count", "rounded"), [(0.5, 8), (8, 8), (11, 16), (12, 16), (18, 24)])
def test_channels_are_multiples_of_8(count, rounded):
    assert multiple_of_8(count) == rounded


def test_width_multiplies_channels():
    settings = EncoderSettings(name="resnet50", width=0.5)
    encoder = build_encoder(settings, spatial_dims=2, in_channels=1)
    assert encoder.channels == (32, 128, 256, 512, 1024)


def test_instance_norm_of_one_voxel_scales_and_shifts():
    norm = InstanceNorm(2)
    torch.nn.init.constant_(norm.weight, 3.0)
    torch.nn.init.constant_(norm.bias, 1.0)
    normed = norm(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1, 1))
    assert normed.flatten().tolist() == [7.0, -2.0]


def test_batch_norm_of_one_value_takes_running_statistics():
    encoder = small("resnet18", 2, norm="batch").train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder(image(1, 1))
    after = encoder.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("window", [2, 3])
def test_pools_are_torchs_with_ceiling(size, window):
    level = levels_of(plan_layout(EncoderSettings(), spatial_dims=2))[0]
    x = torch.rand(1, 2, size, size + 3)
    wanted = torch.nn.functional.max_pool2d(
        x, window, 2, padding=(window - 1) // 2, ceil_mode=window == 2
    )
    assert torch.equal(StepPool(window, level)(x), wanted)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (EncoderSettings(name="resnet17"), "there are:.*resnet18"),
        (EncoderSettings(strides=((2, 2),) * 4), "5 strides of 2"),
        (EncoderSettings(strides=((3, 2),) * 5), "1 or 2"),
        (EncoderSettings(output_stride=12), "no power of two"),
        (EncoderSettings(width=0), "must be positive"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, words):
    with pytest.raises(PlanError, match=words):
        build_encoder(settings, spatial_dims=2, in_channels=1)


def test_layout_dilates_where_it_would_stride_too_far():
    layout = plan_layout(EncoderSettings(output_stride=8), spatial_dims=2)
    assert [step[0] for step in layout.steps] == [2, 2, 2, 1, 1]
    assert [dilation[0] for dilation in layout.dilations] == [1, 1, 1, 2, 4]
