"""Tiles of one value, such as air: the network answers the first, and that answer serves all."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from medseg.inference.tiling import Triple

_SAME = 1e-5
"""Standard deviations between values that count as one: what resampling of one value leaves in
float32, and below what 16-bit formats tell apart."""


class UniformTiles:
    """Logits of an image's tiles; one whose every voxel has the same value is computed once.

    Parameters
    ----------
    image_CIJK : torch.Tensor
    tile : tuple of int
        Voxels of a tile.
    compute : callable
        Logits of the tile of an image that starts at a voxel; a function of the tile's values.
    """

    def __init__(
        self, image_CIJK: Tensor, tile: Triple, compute: Callable[[Tensor, Triple], Tensor]
    ) -> None:
        self.image_CIJK = image_CIJK
        self.tile = tile
        self.compute = compute
        self.reused = 0
        self._kept: tuple[Tensor, Tensor] | None = None

    def __call__(self, start: Triple) -> Tensor:
        """Logits of the tile that starts at `start`; shape (L, *tile)."""
        voxels = tile_at(self.image_CIJK, start, self.tile)
        low = voxels.amin((1, 2, 3))
        if (voxels.amax((1, 2, 3)) - low).max() > _SAME:
            return self.compute(self.image_CIJK, start)
        if self._kept is not None and (self._kept[0] - low).abs().max() <= _SAME:
            self.reused += 1
            return self._kept[1]
        self._kept = (low, self.compute(self.image_CIJK, start))
        return self._kept[1]


def tile_at(image_CIJK: Tensor, start: Triple, tile: Triple) -> Tensor:
    """The voxels of a tile that starts at `start`; shape (C, *tile), a view."""
    i, j, k = (slice(first, first + n) for first, n in zip(start, tile, strict=True))
    return image_CIJK[:, i, j, k]
