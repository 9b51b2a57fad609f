"""Networks of several folds as one: each looks at a tile, and their logits are averaged."""

from __future__ import annotations

from torch import Tensor, nn


class Ensemble(nn.ModuleDict):
    """Networks, by the names of their folds, that answer together: the mean of their logits.

    nnU-Net averages folds so (Isensee et al., Nature Methods 18, 2021). One tile is seen by one
    network after another, so that beside the weights no more memory is needed than for one.
    """

    def forward(self, tiles: Tensor) -> Tensor:
        """Mean logits; shape (B, L, I, J, K), float32.

        Parameters
        ----------
        tiles : Tensor, shape (B, C, I, J, K)
        """
        first, *others = self.values()
        total: Tensor = first(tiles).float()
        for network in others:
            total = total + network(tiles)
        return total / len(self)
