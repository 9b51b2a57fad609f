"""What every loss keeps, of a file in medseg/losses or of an installed package."""

import pytest
import torch

from medseg.errors import PlanError
from medseg.losses import IGNORE, build_loss, names
from medseg.planning import Component, Normalisation, Plan
from sample_package import part_names

NAMES = names() + part_names("medseg.losses")
SHAPES = {"2-D, two patches": (2, 18, 14), "3-D, one patch": (1, 10, 12, 9)}


def plan_of(name, **settings):
    return Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=(16, 16, 16),
        batch=2,
        network=Component(name="unet"),
        loss=Component(name=name, settings=settings),
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=NAMES)
def loss(request):
    return build_loss(plan_of(request.param))


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def labels(request):
    """A box of class 1 with a core of class 2; class 3 is absent."""
    labels_BIJK = torch.zeros(request.param, dtype=torch.long)
    labels_BIJK[:, 2:9, 3:10] = 1
    labels_BIJK[:, 4:7, 5:8] = 2
    return labels_BIJK


def logits_for(labels_BIJK, *, classes=4, sure=12.0):
    """Logits whose softmax is next to one-hot."""
    chosen = labels_BIJK.masked_fill(labels_BIJK == IGNORE, 0)
    return sure * torch.nn.functional.one_hot(chosen, classes).movedim(-1, 1).float()


def noise_like(logits, seed=0):
    return torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))


def with_ignored(labels_BIJK):
    changed = labels_BIJK.clone()
    changed[:, 3:6, :5] = IGNORE
    return changed


def test_the_losses_are_there():
    assert {"dice", "dice_ce", "dice_focal", "tversky", "boundary", "hausdorff"} <= set(NAMES)


def test_a_right_answer_costs_least(loss, labels):
    right = loss(logits_for(labels), labels)
    shifted = loss(logits_for(labels.roll(2, 1)), labels)
    unsure = loss(logits_for(labels, sure=0.0), labels)
    nothing = loss(logits_for(torch.zeros_like(labels)), labels)
    inverted = loss(-logits_for(labels), labels)
    assert right.ndim == 0
    assert right < min(shifted, unsure, nothing) - 0.01
    assert max(shifted, unsure, nothing) < inverted + 0.5
    nearer = loss(logits_for(labels.roll(1, 1)), labels)
    assert right < nearer < shifted


def test_the_gradient_leads_downhill(loss, labels):
    logits = noise_like(logits_for(labels)).requires_grad_()
    before = loss(logits, labels)
    before.backward()
    assert torch.isfinite(logits.grad).all()
    step = 0.1 / logits.grad.abs().max()
    assert logits.grad.abs().sum() > 0
    assert loss(logits.detach() - step * logits.grad, labels) < before


@pytest.mark.parametrize("sure", [0.0, 80.0, -80.0])
def test_the_gradient_is_finite_for_any_answer(loss, labels, sure):
    logits = (logits_for(labels, sure=1.0) * sure).requires_grad_()
    loss(logits, labels).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits(loss, labels, dtype):
    logits = noise_like(logits_for(labels)).to(dtype).requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(logits.grad).all()
    assert value.item() == pytest.approx(loss(logits.detach().float(), labels).item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_labels_of_any_type(loss, labels, dtype):
    logits, truth = noise_like(logits_for(labels)), with_ignored(labels)
    assert loss(logits, truth.to(dtype)) == loss(logits, truth)


def test_memory_format_does_not_matter(loss, labels):
    last = torch.channels_last if labels.ndim == 3 else torch.channels_last_3d
    logits = noise_like(logits_for(labels))
    found = loss(logits.to(memory_format=last), labels)
    assert found.item() == pytest.approx(loss(logits, labels).item(), rel=1e-5)


def test_background_alone_is_no_fault(loss, labels):
    logits = noise_like(logits_for(labels)).requires_grad_()
    value = loss(logits, torch.zeros_like(labels))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_ignored_voxels_have_no_say(loss, labels):
    truth = with_ignored(labels)
    ignored = truth == IGNORE
    logits = noise_like(logits_for(labels))
    other = torch.where(ignored[:, None], 9 * noise_like(logits, seed=1), logits).requires_grad_()
    value = loss(other, truth)
    assert value.item() == pytest.approx(loss(logits, truth).item(), abs=1e-6)
    value.backward()
    silent = other.grad.movedim(1, -1)[ignored]
    assert not silent.any()
    assert other.grad.any()


def test_everything_ignored_is_nothing(loss, labels):
    logits = noise_like(logits_for(labels)).requires_grad_()
    value = loss(logits, torch.full_like(labels, IGNORE))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert not logits.grad.any()


def test_an_unknown_loss_lists_the_known():
    with pytest.raises(PlanError, match=r"'dise'.*dice_ce"):
        build_loss(plan_of("dise"))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_setting_is_named(name):
    with pytest.raises(PlanError, match="weihgt"):
        build_loss(plan_of(name, weihgt=3))
