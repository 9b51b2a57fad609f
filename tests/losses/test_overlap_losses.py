"""Values of the overlap losses against sums made by hand, and against MONAI's."""

import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss

from medseg.errors import PlanError
from medseg.losses import (
    IGNORE,
    dice,
    dice_ce,
    dice_focal,
    focal_tversky,
    generalised_dice,
    tversky,
)
from medseg.losses._overlap_sums import overlap_sums

# Two classes, four voxels: probability of the structure, and the truth.
PROBABILITY = torch.tensor([0.9, 0.6, 0.2, 0.1])
LABELS = torch.tensor([[[1, 1, 0, 0]]])
LOGITS = torch.stack([(1 - PROBABILITY).log(), PROBABILITY.log()])[None, :, None]
SHARED, PREDICTED, TRUE = 1.5, 1.8, 2.0
ENTROPY = -(math.log(0.9) + math.log(0.6) + math.log(0.8) + math.log(0.9)) / 4


def value(part, **settings):
    return part.build(part.Settings(**settings))(LOGITS, LABELS).item()


def random_case(classes=5, shape=(2, 7, 6, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((shape[0], classes, *shape[1:]), generator=generator)
    return logits, torch.randint(0, classes, shape, generator=generator)


def test_dice_by_hand():
    expected = 1 - (2 * SHARED + 1e-5) / (PREDICTED + TRUE + 1e-5)
    assert value(dice) == pytest.approx(expected, abs=1e-6)
    assert value(dice_ce) == pytest.approx(expected + ENTROPY, abs=1e-6)
    weighted = value(dice_ce, dice_weight=0.5, cross_entropy_weight=2.0)
    assert weighted == pytest.approx(expected / 2 + 2 * ENTROPY, abs=1e-6)


def test_focal_by_hand():
    focal = -sum((1 - p) ** 2 * math.log(p) for p in (0.9, 0.6, 0.8, 0.9)) / 4
    assert value(dice_focal, dice_weight=0.0) == pytest.approx(focal, abs=1e-6)


def test_tversky_by_hand():
    index = SHARED / (SHARED + 0.3 * (PREDICTED - SHARED) + 0.7 * (TRUE - SHARED))
    assert value(tversky) == pytest.approx(1 - index, abs=1e-5)
    assert value(focal_tversky) == pytest.approx((1 - index) ** 0.75, abs=1e-5)
    half = value(tversky, false_positives=0.5, false_negatives=0.5)
    assert half == pytest.approx(value(dice), abs=1e-5)


def test_generalised_dice_by_hand():
    labels = torch.tensor([[[1, 0, 0, 0]]])
    shared, both = (0.9, 0.4 + 0.8 + 0.9), (1.8 + 1, 2.2 + 3)
    upper = shared[0] / 1**2 + shared[1] / 3**2
    lower = both[0] / 1**2 + both[1] / 3**2
    loss = generalised_dice.build(generalised_dice.Settings())
    assert loss(LOGITS, labels).item() == pytest.approx(1 - 2 * upper / lower, abs=1e-5)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("classes", [2, 5])
def test_same_value_and_gradient_as_monai(batch, classes):
    logits, labels = random_case(classes)
    form = {"include_background": False, "to_onehot_y": True, "batch": batch}
    smooth = {"smooth_nr": 1e-5, "smooth_dr": 1e-5}
    theirs = (DiceLoss(softmax=True, **form, **smooth), DiceCELoss(softmax=True, **form, **smooth))
    for part, reference in zip((dice, dice_ce), theirs, strict=True):
        ours = part.build(part.Settings(batch_dice=batch))
        one, other = (logits.clone().requires_grad_() for _ in range(2))
        found, wanted = ours(one, labels), reference(other, labels[:, None])
        assert found.item() == pytest.approx(wanted.item(), abs=1e-6)
        found.backward()
        wanted.backward()
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-8)


def test_the_written_gradient_is_the_derivative():
    logits, labels = random_case(3, (2, 3, 2, 2))
    labels[0, 0] = IGNORE

    def everything(logits_BLIJK):
        found = overlap_sums(logits_BLIJK, labels)
        return found.shared, found.predicted, found.log_truth

    exact = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _in_double(everything, x), (exact,))


def _in_double(function, x):
    """`function` with `Tensor.float` left out, which would blur finite differences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda self: self)
        return function(x)


def test_unlikely_truths_have_a_finite_price():
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1] = -500.0
    labels = torch.ones(1, 2, 2, dtype=torch.long)
    loss = dice_ce.build(dice_ce.Settings(dice_weight=0.0))
    assert loss(logits, labels).item() == pytest.approx(500.0)


def test_sums_of_a_large_scan_are_exact():
    labels = torch.ones(1, 200, 200, 200, dtype=torch.uint8)
    logits = torch.zeros(1, 2, 200, 200, 200)
    logits[:, 1] = math.log(9)
    found = overlap_sums(logits, labels)
    assert found.shared[0, 1].item() == pytest.approx(0.9 * 200**3, rel=1e-6)
    assert found.predicted[0, 1].item() == pytest.approx(0.9 * 200**3, rel=1e-5)


REGIONS = ((1, 2, 3), (2, 3), (3,))


@pytest.mark.parametrize("batch", [True, False])
def test_regions_are_sigmoids_that_may_overlap(batch):
    logits, labels = random_case(3)
    labels = labels + (labels == 2) * (torch.rand(labels.shape) < 0.5)
    masks = torch.stack([torch.isin(labels, torch.tensor(one)) for one in REGIONS], 1).float()
    loss = dice_ce.build(dice_ce.Settings(batch_dice=batch, regions=REGIONS))
    reference = DiceLoss(sigmoid=True, batch=batch, smooth_nr=1e-5, smooth_dr=1e-5)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks)
    wanted = reference(logits, masks) + entropy
    assert loss(logits, labels).item() == pytest.approx(wanted.item(), abs=1e-6)


def test_focal_loss_of_regions_is_monais():
    logits, labels = random_case(3)
    masks = torch.stack([torch.isin(labels, torch.tensor(one)) for one in REGIONS], 1).float()
    reference = DiceFocalLoss(sigmoid=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
    loss = dice_focal.build(dice_focal.Settings(regions=REGIONS))
    wanted = reference(logits, masks).item()
    assert loss(logits, labels).item() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("part", [dice, dice_ce, dice_focal, tversky, focal_tversky])
def test_ignored_voxels_have_no_say_in_regions(part):
    logits, labels = random_case(3)
    labels[:, 2] = IGNORE
    loss = part.build(part.Settings(regions=REGIONS))
    one = logits.clone().requires_grad_()
    other = logits.clone()
    other[:, :, 2] += 7
    value = loss(one, labels)
    assert value.item() == pytest.approx(loss(other, labels).item(), abs=1e-6)
    value.backward()
    assert not one.grad[:, :, 2].any()
    assert one.grad.any()
    assert loss(one, torch.full_like(labels, IGNORE)).item() == pytest.approx(0, abs=1e-6)


def test_as_many_regions_as_channels():
    logits, labels = random_case(5)
    with pytest.raises(PlanError, match=r"5 channels.*3 regions"):
        dice.build(dice.Settings(regions=REGIONS))(logits, labels)
