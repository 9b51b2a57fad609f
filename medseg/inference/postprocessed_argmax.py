"""Postprocessing of probabilities before labels are chosen: needs the whole volume at once."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.inference.streaming_argmax import StreamingArgmax
from medseg.postprocessing import Postprocessing
from medseg.postprocessing.protocol import Three

_LEAST = 1e-8  # keeps the logarithm finite


class PostprocessedArgmax:
    """Collects rows of logits, refines them when the last has come, and passes them on.

    Notes
    -----
    Holds 4 bytes for each class and voxel of the network's grid, about four times over while it
    refines; `StreamingArgmax` alone holds a few rows.
    """

    def __init__(
        self,
        stream: StreamingArgmax,
        postprocessing: Postprocessing,
        image_CIJK: Tensor,
        *,
        spacing_mm: Three,
    ) -> None:
        self.stream = stream
        self.postprocessing = postprocessing
        self.image_CIJK = image_CIJK
        self.spacing_mm = spacing_mm
        self.rows: list[Tensor] = []
        self.missing = image_CIJK.shape[1]

    def feed(self, logits_LIJK: Tensor) -> None:
        """Take the next rows; with the last ones, every label is written."""
        if not logits_LIJK.shape[1]:
            return
        self.rows.append(logits_LIJK)
        self.missing -= logits_LIJK.shape[1]
        if self.missing > 0:
            return
        probabilities_LIJK = torch.softmax(torch.cat(self.rows, dim=1), dim=0)
        self.rows = []
        refined_LIJK = self.postprocessing.probabilities(
            probabilities_LIJK, self.image_CIJK, spacing_mm=self.spacing_mm
        )
        self.stream.feed(refined_LIJK.clamp_min(_LEAST).log())
