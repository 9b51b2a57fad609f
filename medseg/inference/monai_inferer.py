"""MONAI's sliding window in bounded memory, for any network of a MONAI workflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer
from monai.utils import BlendMode, convert_to_dst_type
from torch import Tensor

from medseg.errors import InputError
from medseg.inference.oom_fallback import Fallback
from medseg.inference.options import Roi
from medseg.inference.sliding_window import SlidingWindow, extent_of, padding
from medseg.inference.tiling import Triple
from medseg.runtime.device import Device
from medseg.runtime.progress import Progress, silent


class MonaiInferer(Inferer):  # type: ignore[misc]
    """The same logits as of `monai.inferers.SlidingWindowInferer`, in bounded memory.

    On the network's device lie a tile and sums over as many rows as a tile has, however long the
    scan is: give `device`, or `argmax`, for all logits gathered there need more than MONAI's way.
    With `argmax` no memory ever holds all classes of a scan.

    Parameters
    ----------
    roi_size : sequence of int or int
        Voxels of a tile along I, J, K. Smaller images are padded with zeros.
    overlap : float, default 0.25
        Smallest share of a tile that neighbours have in common.
    mode : {"constant", "gaussian"}
        How tiles are weighed where they overlap.
    sw_device : torch.device or str, optional
        Where the network is and tiles are added up; the input's device when not given.
    device : torch.device or str, optional
        Where the result is gathered; the input's device when not given.
    argmax : bool, default False
        Whether the result is the index of the largest logit instead of all logits.
    progress : Progress, optional
        Called before every tile; may raise `Cancelled`.

    Raises
    ------
    InputError
        When tiles, overlap or mode are none.
    """

    def __init__(
        self,
        roi_size: Sequence[int] | int,
        *,
        overlap: float = 0.25,
        mode: str = "constant",
        sw_device: torch.device | str | None = None,
        device: torch.device | str | None = None,
        argmax: bool = False,
        progress: Progress = silent,
    ) -> None:
        super().__init__()
        self.roi_size = _checked_size(roi_size)
        if not 0 <= overlap < 1:
            raise InputError(f"overlap must lie in 0..1 (1 excluded), got {overlap}")
        if mode not in list(BlendMode):
            raise InputError(f"mode must be one of {', '.join(BlendMode)}, got '{mode}'")
        self.overlap = overlap
        self.mode = mode
        self.sw_device = sw_device
        self.device = device
        self.argmax = argmax
        self.progress = progress

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """What the network says of whole images.

        Parameters
        ----------
        inputs : torch.Tensor, shape (B, C, I, J, K)
            A MetaTensor's meta goes over to the result.
        network : callable
            In evaluation mode; from (1, C, *roi_size) to logits (1, L, *roi_size).
        *args, **kwargs
            Go to the network after the tile.

        Returns
        -------
        torch.Tensor
            Mean logits (B, L, I, J, K) in float32, or with `argmax` classes (B, 1, I, J, K) in
            uint8 (int16 above 256 classes). It has no gradients.

        Raises
        ------
        InputError
            When the input has other axes, or the network's answer another shape than its tile.
        """
        if inputs.dim() != 5 or 0 in inputs.shape:
            raise InputError(
                f"inputs of shape {tuple(inputs.shape)}, expected (B, C, I, J, K) with voxels; give"
                " a picture or slice a last axis of one voxel, and a roi_size that ends in 1"
            )

        def checked(tile: Tensor) -> Tensor:
            return _checked_logits(network(tile, *args, **kwargs), tile)

        window = _MonaiWindow(checked, self._way(inputs.device), self.overlap, mode=self.mode)
        images = inputs.as_subclass(Tensor)
        result = None
        for number, image in enumerate(images):
            done = 0
            for logits_LIJK in window.rows(image, progress=self.progress):
                rows = _largest(logits_LIJK) if self.argmax else logits_LIJK
                if result is None:
                    size = (len(images), len(rows), *extent_of(image))
                    where = self.device or inputs.device
                    result = torch.empty(size, dtype=rows.dtype, device=where)
                result[number, :, done : done + rows.shape[1]] = rows
                done += rows.shape[1]
        assert result is not None  # every image has rows
        typed: Tensor
        typed, *_ = convert_to_dst_type(result, inputs, dtype=result.dtype, device=result.device)
        return typed

    def _way(self, default: torch.device) -> Fallback:
        """The network's device, in the number format that is on around the call."""
        device = torch.device(self.sw_device or default)
        on = torch.is_autocast_enabled(device.type)
        half = torch.get_autocast_dtype(device.type) if on else None
        return Fallback(Device(device, half, str(device)), device, self.roi_size)


@dataclass(frozen=True, eq=False)
class _MonaiWindow(SlidingWindow):
    """Tiles where MONAI has them, weighed as there; ours spread evenly over a scan."""

    mode: str = "constant"

    def starts(self, extent: Triple, roi: Roi | None = None) -> list[Triple]:
        assert roi is None  # an inferer looks at all of an image
        tile = self.attempt.tile
        _, shape = padding(extent, tile)
        steps = [max(int(n * (1 - self.overlap)), 1) for n in tile]
        corners = np.array(dense_patch_slices(shape, tile, steps, return_slice=False))[:, :, 0]
        return [(i, j, k) for i, j, k in corners.tolist()]

    def weight(self) -> Tensor:
        weight: Tensor = compute_importance_map(
            self.attempt.tile, mode=self.mode, device=self.attempt.sums_on
        )
        return weight


def _largest(logits_LIJK: Tensor) -> Tensor:
    index = logits_LIJK.argmax(0, keepdim=True)
    return index.to(torch.uint8 if len(logits_LIJK) <= 256 else torch.int16)


def _checked_size(roi_size: Sequence[int] | int) -> Triple:
    size: tuple[Any, ...] = (roi_size,) * 3 if isinstance(roi_size, int) else tuple(roi_size)
    if len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise InputError(
            f"roi_size must be one or three positive numbers of voxels, got {roi_size}"
        )
    i, j, k = size
    return i, j, k


def _checked_logits(logits: Any, tile: Tensor) -> Tensor:
    answer = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or (len(logits), *logits.shape[2:]) != (1, *tile.shape[2:]):
        raise InputError(
            f"for a tile of shape {tuple(tile.shape)} the network gives {answer}, expected logits"
            f" (1, L, {', '.join(map(str, tile.shape[2:]))}); put it into evaluation mode, or wrap"
            " it so that it gives one tensor of its input's size"
        )
    return logits
