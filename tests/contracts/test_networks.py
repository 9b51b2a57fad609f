"""What every architecture keeps; a new file in medseg/networks is tested with no edit here."""

import numpy as np
import pytest
import torch

from medseg.errors import PlanError
from medseg.networks import build_network, names
from medseg.networks.instance_norm import InstanceNorm
from medseg.planning import Choice, Normalisation, Plan
from medseg.runtime import catalogue

NAMES = names()


def small(name, *, dims=3, channels=1, classes=3):
    part = catalogue.load("medseg.networks", name)
    settings = part.Settings(
        features=(8, 16, 16),
        strides=((1,) * dims, (2,) * dims, (2,) * dims),
        kernels=((3,) * dims,) * 3,
    )
    torch.manual_seed(0)
    return part.build(settings, spatial_dims=dims, in_channels=channels, out_channels=classes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 8, 8), (7, 10, 5), (1, 3, 17), (2, 2, 2)])
def test_output_grid_is_input_grid(name, size):
    network = small(name).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("name", NAMES)
def test_two_axes_and_several_channels(name):
    network = small(name, dims=2, channels=3).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 9, 14)).shape == (2, 3, 9, 14)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name):
    network = small(name).train()
    logits = network(torch.randn(2, 1, 8, 12, 8))
    levels = logits if isinstance(logits, list) else [logits]
    sum(level.square().mean() for level in levels).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
def test_overfits_one_patch(name):
    network = small(name).train()
    rng = np.random.default_rng(0)
    labels = torch.zeros(1, 16, 16, 16, dtype=torch.long)
    labels[:, 3:9, 4:12, 5:11] = 1
    labels[:, 10:14, 4:12, 5:11] = 2
    image = (
        labels[:, None].float() + torch.from_numpy(rng.normal(0, 0.3, (1, 1, 16, 16, 16))).float()
    )
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(60):
        logits = network(image)
        finest = logits[0] if isinstance(logits, list) else logits
        loss = torch.nn.functional.cross_entropy(finest, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        found = network(image).argmax(1)
    for value in (1, 2):
        mask, truth = found == value, labels == value
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_channels_last_gives_the_same_labels(name):
    network = small(name).eval().to(memory_format=torch.channels_last_3d)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        exact = network(image).argmax(1)
        with torch.autocast("cpu", torch.bfloat16):
            quick = network(image.to(memory_format=torch.channels_last_3d)).argmax(1)
    assert (exact == quick).float().mean() > 0.97


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_instance_norm_is_pytorchs_forward_and_backward(dtype):
    torch.manual_seed(1)
    norm = InstanceNorm(5).to(dtype)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = (3 + 2 * torch.randn(2, 5, 6, 7, 8, dtype=dtype)).requires_grad_()
    upstream = torch.randn_like(x)
    wanted = (x, norm.weight, norm.bias)
    ours = torch.autograd.grad(norm(x), wanted, upstream)
    reference = torch.nn.functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    theirs = torch.autograd.grad(reference, wanted, upstream)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-4)


def plan_of(choice):
    return Plan(
        spacing_mm=(1.0, 1.0, 1.0), channels=("MR",), normalisation=(Normalisation(),),
        patch=(16, 16, 16), batch=2, network=choice,
    )  # fmt: skip


def test_an_unknown_name_lists_the_known():
    with pytest.raises(PlanError, match=r"'unett'.*unet"):
        build_network(plan_of(Choice(name="unett")), classes=2)


def test_an_unknown_setting_is_named():
    with pytest.raises(PlanError, match="depht"):
        build_network(plan_of(Choice(name="unet", settings={"depht": 3})), classes=2)
