"""Losses of MONAI's calling form: by the name of their class, or given in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import torch
from torch import Tensor

from medseg.losses import IGNORE
from medseg.runtime import class_parts

PACKAGE = "medseg.losses"
ON_CLASS_INDICES = ("to_onehot_y", "softmax", "use_softmax")
"""Switches of MONAI's losses that make them take logits and class indices; on unless set."""
Loss = Callable[[Tensor, Tensor], Tensor]
CERTAIN = 20.0
"""Logit of the background at voxels that do not count, and minus that of all else."""


class ClassLoss:
    """What a file of ``medseg.losses`` offers, for a class.

    Parameters
    ----------
    name : str
        Such as ``"monai:DiceFocalLoss"``.

    Raises
    ------
    PlanError
        When there is no such class.
    """

    def __init__(self, name: str) -> None:
        self.loss_type = class_parts.class_of(PACKAGE, name)
        self.Settings = class_parts.settings_type(self.loss_type)

    def build(self, settings: Any) -> Loss:
        """Make the loss, on logits and class indices."""
        values = msgspec.to_builtins(settings)
        switches = ("to_onehot_y",) if values.get("sigmoid") else ON_CLASS_INDICES
        switched_on = {name: True for name in switches if name not in values}
        return on_monai_form(class_parts.make(self.loss_type, settings, **switched_on))


def on_monai_form(loss: Loss) -> Loss:
    """A loss on ``logits_BLIJK`` and ``labels_BIJK``, from one on labels (B, 1, I, J, K).

    Voxels that do not count become background that the network is certain of, so nothing that it
    says there matters. They stay in the number of voxels that a mean divides by.
    """

    def on_indices(logits_BLIJK: Tensor, labels_BIJK: Tensor) -> Tensor:
        logits, labels = logits_BLIJK.float(), labels_BIJK[:, None].float()
        ignored = labels == IGNORE
        if ignored.any():
            background = torch.full_like(logits, -CERTAIN)
            background[:, 0] = CERTAIN
            logits = torch.where(ignored, background, logits)
            labels = labels.masked_fill(ignored, 0)
        return loss(logits, labels)

    return on_indices
