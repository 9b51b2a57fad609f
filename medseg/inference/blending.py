"""What of a network's tiles is blended: its features or its logits, and along which axis first."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch

from medseg.inference.pointwise_head import Split
from medseg.inference.sliding_window import padding
from medseg.inference.sweep import Sweep
from medseg.inference.tiling import Triple

if TYPE_CHECKING:
    from medseg.inference.predictor import Predictor

_MOST_HALF_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Blend:
    """How tiles of one image become rows of logits.

    Parameters
    ----------
    sweep : Sweep
        Which axis the rows are of.
    split : Split or None
        The network in two, where its features are blended and logits are made of the rows.
    in_half : bool
        Whether logits are added up as nnU-Net does, in its order and in half precision, which
        decides near ties as there. Where that would take much memory, or features stand for the
        logits of many classes, sums are more exact than nnU-Net's.
    """

    sweep: Sweep
    split: Split | None
    in_half: bool

    @classmethod
    def of(cls, predictor: Predictor, extent: Triple, tile: Triple) -> Blend:
        """The blend for an image of so many voxels, in tiles of so many."""
        whole = predictor.postprocessing.on_probabilities
        if predictor.plan.blending == "nnunet" and not whole:
            _, shape = padding(extent, tile)
            outputs = predictor.plan.outputs(predictor.labels)
            sums = outputs * tile[0] * prod(shape[1:]) * torch.float16.itemsize
            if sums <= _MOST_HALF_BYTES:
                return cls(Sweep(0), None, True)
        if whole:  # all logits are kept anyway
            return cls(Sweep(0), None, False)
        return cls(Sweep.of(extent, tile), predictor.split, False)
