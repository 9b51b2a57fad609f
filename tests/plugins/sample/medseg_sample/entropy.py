"""Sample entropy: cross-entropy of the voxels that count."""

from __future__ import annotations

import msgspec
from torch import nn

from medseg.losses import IGNORE


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan may choose."""

    weight: float = 1.0


def build(settings: Settings):
    """The sum over voxels that count, over their number."""

    def loss(logits_BLIJK, labels_BIJK):
        labels = labels_BIJK.long()
        sums = nn.functional.cross_entropy(
            logits_BLIJK.float(), labels, ignore_index=IGNORE, reduction="sum"
        )
        return settings.weight * sums / (labels != IGNORE).sum().clamp_min(1)

    return loss
