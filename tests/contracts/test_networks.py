"""What every architecture keeps, of a file in medseg/networks or of an installed package."""

import copy
import functools
import itertools
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import PlanError
from medseg.networks import build_component, build_network, names, suggestion
from medseg.networks.blocks.cost import cost_of
from medseg.networks.blocks.instance_norm import InstanceNorm
from medseg.planning import Component, Normalisation, Plan
from medseg.planning.stages import Stages
from medseg.runtime import registry
from sample_package import part_names

PACKAGE = "medseg.networks"
NAMES = names() + part_names(PACKAGE)
CASES = list(itertools.product(NAMES, (2, 3)))
TRAINED = [
    pytest.param(*case, marks=[pytest.mark.slow] if case == ("swin_unetr", 3) else [])
    for case in CASES
]
QUICKLY_EXPORTED = {("unet", 2), ("fcn", 2), ("sample_stack", 2)}
"""torch takes seconds to write a network as ONNX; the others are slow tests."""
EXPORTED = [
    pytest.param(*case, marks=[] if case in QUICKLY_EXPORTED else [pytest.mark.slow])
    for case in CASES
]
ROUNDED = {("swin_unetr", 3)}
"""It pads the small image to 32^3, and onnxruntime's InstanceNormalization adds up these 32,768
mostly equal numbers in float32: off by 2.6e-4 on logits of 9; torch is within 3e-6 of float64.
"""
SIZES = [(16, 16, 16), (7, 10, 5), (1, 3, 17), (2, 2, 2), (1, 1, 1)]
MOST_STEPS = 150
BOXES = {1: (slice(2, 7), slice(3, 9), slice(3, 9)), 2: (slice(8, 11), slice(2, 10), slice(2, 10))}


class Trained(NamedTuple):
    """A network that knows one image by heart."""

    network: nn.Module
    image: torch.Tensor
    labels: torch.Tensor
    dice: float


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small are slowed by more threads; several test processes are, badly."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stages(dims, *, halvings=2, patch=16):
    """A patch halved step by step; where there are two steps, the last axis misses the first."""
    steps = [(1,) * dims] + [(2,) * dims] * halvings
    if halvings > 1:
        steps[1] = (2,) * (dims - 1) + (1,)
    return Stages(
        patch=(patch,) * dims,
        features=(8, *(16 for _ in range(halvings))),
        strides=tuple(steps),
        kernels=((3,) * dims,) * len(steps),
    )


def small(name, dims, *, channels=1, classes=3, halvings=2):
    component = suggestion(name)(stages(dims, halvings=halvings))
    torch.manual_seed(0)
    if name == "swin_unetr":  # attention blocks are slow to trace and to train
        component = Component(name=name, settings={**component.settings, "depths": [1, 1, 1, 1]})
    try:
        return build_component(
            component, spatial_dims=dims, in_channels=channels, out_channels=classes
        )
    except PlanError as error:
        if error.code == "NOT_INSTALLED":
            pytest.skip(str(error))
        raise


def levels_of(output):
    return output if isinstance(output, list) else [output]


def dice_of(found, labels):
    scores = []
    for value in BOXES:
        mask, truth = found == value, labels == value
        scores.append(float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())))
    return min(scores)


def learn_by_heart(network, image, labels):
    """Adam until the smaller Dice of the two boxes passes 0.98, at most `MOST_STEPS` steps."""
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    dice = 0.0
    for step in range(1, MOST_STEPS + 1):
        network.train()
        finest = levels_of(network(image))[0]
        loss = nn.functional.cross_entropy(finest, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            network.eval()
            with torch.no_grad():
                dice = dice_of(network(image).argmax(1), labels)
            if dice > 0.98:
                break
    return dice


@functools.cache
def trained(name, dims):
    """Trained once for all tests that want it."""
    network = small(name, dims, halvings=1)
    labels = torch.zeros(1, *(12,) * dims, dtype=torch.long)
    for value, box in BOXES.items():
        labels[(0, *box[:dims])] = value
    noise = np.random.default_rng(0).normal(0, 0.2, labels.shape)
    image = (labels + torch.from_numpy(noise)).float()[:, None]
    dice = learn_by_heart(network, image, labels)
    return Trained(network.eval(), image, labels, dice)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_output_grid_is_input_grid_whatever_the_size(name, dims):
    network = small(name, dims, channels=2)
    for size in SIZES:
        image = torch.zeros(1, 2, *size[:dims])
        with torch.no_grad():
            assert levels_of(network.train()(image))[0].shape == (1, 3, *size[:dims])
            assert network.eval()(image).shape == (1, 3, *size[:dims])


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_default_settings_fit_both_dimensions(name, dims):
    part = registry.load(PACKAGE, name)
    part.build(part.Settings(), spatial_dims=dims, in_channels=1, out_channels=2)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_gradient_reaches_every_parameter_from_a_batch_of_one(name, dims):
    network = small(name, dims).train()
    levels = levels_of(network(torch.randn(1, 1, *(16,) * dims)))
    sum(level.square().mean() for level in levels).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []


@pytest.mark.parametrize(("name", "dims"), TRAINED)
def test_learns_one_image_by_heart(name, dims):
    assert trained(name, dims).dice > 0.95


@pytest.mark.parametrize(("name", "dims"), TRAINED)
def test_is_deterministic_in_eval_mode(name, dims):
    case = trained(name, dims)
    with torch.no_grad():
        assert torch.equal(case.network(case.image), case.network(case.image))


@pytest.mark.parametrize(("name", "dims"), TRAINED)
def test_a_state_dict_holds_all_there_is_to_know(name, dims):
    case, twin = trained(name, dims), small(name, dims, halvings=1)
    for parameter in twin.parameters():
        nn.init.zeros_(parameter)
    twin.load_state_dict(case.network.state_dict())
    with torch.no_grad():
        assert torch.equal(twin.eval()(case.image), case.network(case.image))


@pytest.mark.parametrize(("name", "dims"), TRAINED)
def test_bfloat16_channels_last_gives_the_same_labels(name, dims):
    case = trained(name, dims)
    last = torch.channels_last_3d if dims == 3 else torch.channels_last
    network = copy.deepcopy(case.network).to(memory_format=last)
    with torch.no_grad():
        exact = case.network(case.image).argmax(1)
        with torch.autocast("cpu", torch.bfloat16):
            quick = network(case.image.to(memory_format=last)).argmax(1)
    assert (exact == quick).float().mean() >= 0.99


@pytest.mark.parametrize(("name", "dims"), TRAINED)
def test_torch_export_gives_the_same_logits(name, dims):
    case = trained(name, dims)
    program = torch.export.export(case.network, (case.image,))
    with torch.no_grad():
        wanted = case.network(case.image)
        torch.testing.assert_close(program.module()(case.image), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "dims"), EXPORTED)
def test_onnx_gives_the_same_logits(name, dims, tmp_path):
    """To 1e-4, or for a network in `ROUNDED` to 1e-4 of the largest logit."""
    pytest.importorskip("onnxscript", reason="torch writes ONNX with the package onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the exported network")
    case, file = trained(name, dims), tmp_path / "network.onnx"
    torch.onnx.export(case.network, (case.image,), f=file, dynamo=True, verbose=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: case.image.numpy()})[0]
    with torch.no_grad():
        wanted = case.network(case.image).numpy()
    unit = np.abs(wanted).max() if (name, dims) in ROUNDED else 1.0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * unit)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_its_cost_can_be_told(name, dims):
    network = small(name, dims).train()
    cost = cost_of(network, channels=1, size=(16,) * dims)
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert cost.gflops > 0
    assert all(module.training for module in network.modules())


def plan_of(name, settings=None):
    return Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=(16, 16, 16),
        batch=2,
        network=Component(name=name, settings=settings or {}),
    )


def test_an_unknown_name_lists_the_known():
    with pytest.raises(PlanError, match=r"'unett'.*unet"):
        build_network(plan_of("unett"), classes=2)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_setting_is_named(name):
    with pytest.raises(PlanError, match="depht"):
        build_network(plan_of(name, {"depht": 3}), classes=2)


def outside_of_their_choices(name):
    """Every setting that chooses from a list, with a value that is not on it."""
    for field in msgspec.inspect.type_info(registry.load(PACKAGE, name).Settings).fields:
        if isinstance(field.type, msgspec.inspect.LiteralType):
            text = isinstance(field.type.values[0], str)
            yield field.name, "seven" if text else 7


@pytest.mark.parametrize("name", NAMES)
def test_a_choice_that_is_not_offered_is_refused(name):
    for field, value in outside_of_their_choices(name):
        with pytest.raises(PlanError, match=field):
            build_network(plan_of(name, {field: value}), classes=2)


@pytest.mark.parametrize("name", NAMES)
def test_features_must_be_positive(name):
    settings = msgspec.to_builtins(registry.load(PACKAGE, name).Settings())
    if "features" not in settings:
        pytest.skip("no setting of that name")
    none = 0 if isinstance(settings["features"], int) else [0 for _ in settings["features"]]
    with pytest.raises(PlanError, match=r"^[^\n]*0[^\n]*$"):
        build_network(plan_of(name, {"features": none}), classes=2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ({"name": "resnet19"}, "'resnet19'"),
        ({"output_stride": 3}, "output stride 3"),
        ({"strides": [[2, 2, 2]]}, "5 strides"),
        ({"strides": [[2, 2]] * 5}, "3 numbers"),
        ({"width": -1.0}, "positive"),
    ],
)
def test_an_impossible_encoder_is_refused_in_one_sentence(name, encoder, words):
    if "encoder" not in registry.load(PACKAGE, name).Settings.__struct_fields__:
        pytest.skip("no encoder to choose")
    with pytest.raises(PlanError, match=rf"^[^\n]*{words}[^\n]*$"):
        build_network(plan_of(name, {"encoder": encoder}), classes=2)


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


def test_instance_norm_scales_and_shifts_a_single_voxel():
    norm = InstanceNorm(2)
    nn.init.constant_(norm.weight, 2.0)
    nn.init.constant_(norm.bias, 1.0)
    x = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1, 1)
    assert norm(x).flatten().tolist() == [7.0, -1.0]
