"""The losses about shape: distances by SciPy, values by MONAI, and what each is for."""

import numpy as np
import pytest
import torch
from monai.losses import HausdorffDTLoss, LogHausdorffDTLoss
from monai.losses.cldice import SoftclDiceLoss
from scipy.ndimage import distance_transform_edt

from medseg.losses import boundary, cl_dice, hausdorff
from medseg.losses._structures import distance_outside


def random_case(classes=3, shape=(2, 9, 8, 7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((shape[0], classes, *shape[1:]), generator=generator)
    return logits, torch.randint(0, classes, shape, generator=generator)


def line(column, *, gap=None):
    """A vessel of class 1, one voxel wide, along the first axis; shape (1, 24, 16)."""
    labels = torch.zeros(1, 24, 16, dtype=torch.long)
    labels[:, :, column] = 1
    if gap is not None:
        labels[:, gap] = 0
    return labels


def logits_for(labels, sure=12.0):
    return sure * torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()


@pytest.mark.parametrize("spacing", [(), (0.7, 1.0, 3.0)])
def test_distances_are_scipys(spacing):
    mask = torch.rand(2, 3, 9, 8, 7, generator=torch.Generator().manual_seed(1)) < 0.05
    found = distance_outside(mask, spacing).numpy()
    for place in np.ndindex(2, 3):
        wanted = distance_transform_edt(~mask[place].numpy(), sampling=spacing or None)
        np.testing.assert_allclose(found[place], wanted, atol=1e-4)


def test_distance_to_nothing_is_nothing():
    assert not distance_outside(torch.zeros(1, 1, 5, 5, dtype=torch.bool)).any()


def test_boundary_by_hand():
    labels = line(5)
    p = torch.tensor(0.25)
    logits = torch.stack([(1 - p).log(), p.log()])[None, :, None, None].expand(1, 2, 24, 16)
    signed = (torch.arange(16) - 5).abs().float()
    signed[5] = -1
    loss = boundary.build(boundary.Settings(dice_weight=0.0, boundary_weight=1.0))
    assert loss(logits, labels).item() == pytest.approx(0.25 * signed.mean().item(), abs=1e-6)


def test_boundary_in_mm_follows_the_spacing():
    labels = line(5)
    near, far = logits_for(line(7)), logits_for(line(12))
    settings = {"dice_weight": 0.0, "boundary_weight": 1.0}
    voxels = boundary.build(boundary.Settings(**settings))
    mm = boundary.build(boundary.Settings(**settings, spacing=(3.0, 3.0)))
    assert voxels(near, labels) < voxels(far, labels)
    assert mm(far, labels).item() == pytest.approx(3 * voxels(far, labels).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("logarithm", "theirs"), [(False, HausdorffDTLoss), (True, LogHausdorffDTLoss)]
)
@pytest.mark.parametrize("shape", [(2, 9, 8), (2, 9, 8, 7)])
def test_hausdorff_is_monais(logarithm, theirs, shape):
    logits, labels = random_case(shape=shape)
    loss = hausdorff.build(hausdorff.Settings(dice_weight=0.0, logarithm=logarithm))
    wanted = theirs(softmax=True, to_onehot_y=True)(logits, labels[:, None])
    assert loss(logits, labels).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_far_mistake_costs_more_than_a_near_one():
    labels = line(3)
    near, far = line(3), line(3)
    near[:, 10, 5] = 1
    far[:, 10, 14] = 1
    for part in (boundary, hausdorff):
        loss = part.build(part.Settings())
        assert loss(logits_for(near), labels) < loss(logits_for(far), labels)


@pytest.mark.parametrize("shape", [(1, 12, 11), (1, 9, 8, 7)])
def test_cl_dice_of_one_structure_is_monais(shape):
    logits, labels = random_case(2, shape)
    loss = cl_dice.build(cl_dice.Settings(dice_weight=0.0, centreline_weight=1.0))
    theirs = SoftclDiceLoss(softmax=True, to_onehot_y=True, include_background=False, smooth=1e-9)
    assert loss(logits, labels).item() == pytest.approx(
        theirs(logits, labels[:, None]).item(), abs=1e-6
    )


def test_a_gap_costs_more_than_the_same_voxel_at_the_side():
    """Dice is the same for both; only the skeleton knows that the vessel is cut."""
    thick = torch.zeros(1, 24, 16, dtype=torch.long)
    thick[:, :, 5:8] = 1
    cut, thin = thick.clone(), thick.clone()
    cut[:, 12, 5:8] = 0
    thin[:, (4, 12, 20), 5] = 0
    loss = cl_dice.build(cl_dice.Settings(dice_weight=0.0, centreline_weight=1.0))
    assert loss(logits_for(cut), thick) > loss(logits_for(thin), thick)
