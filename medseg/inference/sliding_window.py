"""One pass of a network over the tiles of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from medseg.inference.oom_fallback import Fallback
from medseg.inference.options import Roi
from medseg.inference.roi import tiles_for
from medseg.inference.streaming_argmax import RollingAccumulator
from medseg.inference.tile_weights import gaussian, nnunet_gaussian
from medseg.inference.tiling import Triple, tile_starts
from medseg.inference.uniform_tiles import UniformTiles, tile_at
from medseg.runtime.progress import Progress


@dataclass(frozen=True, eq=False)
class SlidingWindow:
    """A network that goes over an image tile by tile.

    Parameters
    ----------
    network : callable
        Such as a torch.nn.Module: from ``tile_BCIJK`` to ``logits_BLIJK``.
    attempt : Fallback
        Device, size of tiles, and where they are added up.
    overlap : float
        Smallest share of a tile that neighbours have in common.
    blending : {"gaussian", "nnunet"}
        As plans say it.
    in_half : bool
        Whether nnU-Net's sums are kept in half precision, as there.
    """

    network: Callable[[Tensor], Tensor]
    attempt: Fallback
    overlap: float
    blending: Literal["gaussian", "nnunet"] = "gaussian"
    in_half: bool = False

    def starts(self, extent: Triple, roi: Roi | None = None) -> list[Triple]:
        """First voxel of every tile, in the image padded to one tile at least.

        Parameters
        ----------
        extent : tuple of int
            Voxels of the image.
        roi : tuple of slice, optional
            Voxels of the image to look at; all when not given.
        """
        tile = self.attempt.tile
        before, shape = padding(extent, tile)
        starts = tile_starts(shape, tile, self.overlap)
        if roi is None:
            return starts
        i, j, k = (slice(c.start + n, c.stop + n) for c, n in zip(roi, before, strict=True))
        return tiles_for(starts, tile, shape=shape, roi=(i, j, k))

    def weight(self) -> Tensor:
        """How much each voxel of a tile counts; shape (I, J, K)."""
        if self.blending == "gaussian":
            return gaussian(self.attempt.tile, self.attempt.sums_on)
        weight = nnunet_gaussian(self.attempt.tile, self.attempt.sums_on)
        return weight if self.in_half else weight.float()

    def rows(
        self, image_CIJK: Tensor, *, roi: Roi | None = None, progress: Progress
    ) -> Iterator[Tensor]:
        """Logits of the image's rows, from the first to the last, as they become final.

        Parameters
        ----------
        image_CIJK : torch.Tensor
        roi : tuple of slice, optional
            Voxels to look at; rows elsewhere hold background.
        progress : Progress
            Called before every tile; may raise `Cancelled`.

        Yields
        ------
        logits_LIJK : torch.Tensor
            Some rows each; all rows in the end.
        """
        extent = extent_of(image_CIJK)
        before, shape = padding(extent, self.attempt.tile)
        padded = _padded(image_CIJK, before, shape)
        window = None
        crop = _Crop(before, extent)
        starts = self.starts(extent, roi)
        change, reason = self.attempt.message, self.attempt.reason
        message = f"segmenting ({reason}: {change})" if change else "segmenting"
        logits_at = UniformTiles(padded, self.attempt.tile, self.logits)
        for done, start in enumerate(starts):
            progress(done, len(starts), message)
            logits_LIJK = logits_at(start).to(self.attempt.sums_on)
            if window is None:
                window = RollingAccumulator(len(logits_LIJK), shape, self.weight())
            yield from _final(window, start[0], crop)
            window.add(logits_LIJK, start)
        assert window is not None  # there is a tile at least
        yield from _final(window, shape[0], crop)
        progress(len(starts), len(starts), message)

    @torch.inference_mode()
    def logits(self, image_CIJK: Tensor, start: Triple) -> Tensor:
        """Logits of the tile at `start` of a padded image; shape (L, *tile)."""
        tile = tile_at(image_CIJK, start, self.attempt.tile)[None]
        device = self.attempt.device
        tile = tile.to(device.torch_device, memory_format=torch.channels_last_3d)
        with device.autocast():
            return self.network(tile)[0]


def _final(
    window: RollingAccumulator, row: int, crop: Callable[[Tensor, int], Tensor]
) -> Iterator[Tensor]:
    """Rows before `row`, without padding."""
    for logits_LIJK in window.advance(row):
        yield crop(logits_LIJK, window.first)


@dataclass(frozen=True)
class _Crop:
    """Cuts the padding off rows of logits as they become final."""

    before: Triple
    inner: Triple

    def __call__(self, logits_LIJK: Tensor, stop: int) -> Tensor:
        first = stop - logits_LIJK.shape[1]
        low = max(self.before[0] - first, 0)
        high = min(self.before[0] + self.inner[0] - first, logits_LIJK.shape[1])
        _, j, k = self.before
        _, height, width = self.inner
        return logits_LIJK[:, low : max(high, low), j : j + height, k : k + width]


def extent_of(image_CIJK: Tensor) -> Triple:
    """Voxel counts of an image."""
    _, i, j, k = image_CIJK.shape
    return i, j, k


def padding(extent: Triple, tile: Triple) -> tuple[Triple, Triple]:
    """Voxels to put before an image so that a tile fits, evenly, and the voxels it then has."""
    missing = [max(0, n - size) for n, size in zip(tile, extent, strict=True)]
    i, j, k = (n // 2 for n in missing)
    a, b, c = (size + n for size, n in zip(extent, missing, strict=True))
    return (i, j, k), (a, b, c)


def _padded(image_CIJK: Tensor, before: Triple, shape: Triple) -> Tensor:
    sides = zip(before, shape, image_CIJK.shape[1:], strict=True)
    pads = [(first, size - inner - first) for first, size, inner in sides]
    flat = [side for pair in reversed(pads) for side in pair]
    return torch.nn.functional.pad(image_CIJK, flat)
