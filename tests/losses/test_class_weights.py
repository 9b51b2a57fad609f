"""Cross-entropy with a weight for each class, against torch's."""

import pytest
import torch

from medseg.losses import IGNORE, dice_ce


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_torchs_weighted_cross_entropy_with_its_gradient(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn((2, 4, 5, 6, 3), generator=generator)).requires_grad_()
    labels = torch.randint(0, 4, (2, 5, 6, 3), generator=generator)
    labels[0, :2] = IGNORE
    weights = (0.5, 1.0, 7.0, 20.0)
    ours = dice_ce.build(dice_ce.Settings(dice_weight=0.0, class_weights=weights))(logits, labels)
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights), ignore_index=IGNORE)(
        logits, labels
    )
    torch.testing.assert_close(ours, theirs)
    (gradient,) = torch.autograd.grad(ours, logits)
    (expected,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(gradient, expected)
