"""deepbet's two looks at a scan: a small one for the box of the brain, one at the box itself.

Every step is that of deepbet 1.0.2 (MIT licence): nearest voxels, intensities of the small look.
"""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from medseg.errors import InputError
from medseg.networks.blocks.linknet import TwoLooks, one_logit

_SMALL, _WHOLE = (128,) * 3, (256,) * 3
_MARGIN = 0.1
"""Of the box, on each side, as a share of its length."""
_LEAST_SHARE = 0.02
"""Of a plane's voxels in the mask, so that the plane is in the box."""
_LOW, _HIGH = 0.005, 0.995
_MEAN, _STD = 0.449, 0.226
"""What the networks expect: those of ImageNet's green channel."""
_NOTHING = -100.0
"""The logit of what was not looked at."""


def box_then_whole(image_CIJK: Tensor, networks: TwoLooks) -> Tensor:
    """Logits of the mask; shape (1, I, J, K).

    Parameters
    ----------
    image_CIJK : torch.Tensor
        One channel, axes to the right, anterior and superior.
    networks : TwoLooks

    Raises
    ------
    InputError
        When the first look finds nothing.
    """
    image_IJK = image_CIJK[0]
    small = _resized(image_IJK, _SMALL)
    low, high = small.quantile(_LOW), small.quantile(_HIGH)
    small_mask = one_logit(networks.box(_normalised(small, low, high)))[0, 0] > 0
    box = _box(_largest(small_mask), tuple(image_IJK.shape))
    inside = _normalised(_resized(image_IJK[box], _WHOLE), low, high)
    logits = torch.full_like(image_IJK, _NOTHING)
    logits[box] = _resized(networks(inside)[0, 0], tuple(logits[box].shape))
    return logits[None]


def _resized(image_IJK: Tensor, shape: tuple[int, ...]) -> Tensor:
    return interpolate(image_IJK[None, None], shape, mode="nearest-exact")[0, 0]


def _normalised(image_IJK: Tensor, low: Tensor, high: Tensor) -> Tensor:
    image_IJK = ((image_IJK - low) / (high - low)).clamp(0, 1)
    return (_STD * (image_IJK - image_IJK.mean()) / image_IJK.std() + _MEAN)[None, None]


def _largest(mask_IJK: Tensor) -> Tensor:
    """The largest piece of a mask; voxels that share a corner belong together."""
    pieces, _ = ndimage.label(mask_IJK.cpu().numpy(), structure=[[[1] * 3] * 3] * 3)
    sizes = torch.from_numpy(pieces).flatten().bincount()
    if len(sizes) < 2:
        raise InputError(
            "the model finds no brain in this scan; it is for T1-weighted MR of a whole head"
        )
    return torch.from_numpy(pieces) == sizes[1:].argmax() + 1


def _box(mask_IJK: Tensor, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box of a small mask with its margin, in voxels of an image of `shape`."""
    spans = []
    for axis, size in enumerate(shape):
        others = [other for other in range(3) if other != axis]
        planes = torch.where(mask_IJK.float().mean(others) > _LEAST_SHARE)[0]
        if not len(planes):
            raise InputError(
                "the model finds too little brain in this scan; it is for T1-weighted MR of a"
                " whole head"
            )
        first, stop = planes.min(), planes.max() + 1
        scale = torch.tensor(size) / torch.tensor(mask_IJK.shape[axis])  # float32, as deepbet's
        centre = (scale * ((first + stop) / 2)).round()
        length = ((1 + 2 * torch.tensor(_MARGIN)) * (scale * (stop - first))).round()
        low, high = int(centre - length / 2), int(centre + length / 2)
        spans.append(slice(max(0, low), min(size, high)))
    return tuple(spans)
