"""Prepared cases in the memory of a device, or mapped from disk, and patches cut out of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.training.cache import Prepared
from medseg.training.sampling import Crop

DEVICE_SHARE = 0.3
"""Of the free memory of a device, for cases; the rest is for what the network remembers."""
_HALF_RANGE = 30_000.0
"""Intensities up to this are kept in float16, which holds half of them to 1 in 2,000."""

Triple = tuple[int, int, int]


class DeviceCases:
    """Images and labels of cases on a device, to cut patches from.

    Parameters
    ----------
    images : sequence of torch.Tensor
        (C, I, J, K) each, floating.
    labels : sequence of torch.Tensor
        uint8 class indices (I, J, K) each.
    pinned : bool
        Whether patches are cut into memory that a device copies from without waiting.
    """

    def __init__(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], *, pinned: bool = False
    ) -> None:
        self.images, self.labels, self.pinned = images, labels, pinned

    @classmethod
    def mapped(cls, cases: Sequence[Prepared], *, pinned: bool = False) -> DeviceCases:
        """Cases as they lie on disk: the system keeps in main memory what has room there."""
        with warnings.catch_warnings():  # nothing writes into them
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            images = [torch.from_numpy(case.image) for case in cases]
            labels = [torch.from_numpy(case.labels) for case in cases]
        return cls(images, labels, pinned=pinned)

    @classmethod
    def kept(
        cls, cases: Sequence[Prepared], device: torch.device, *, budget: int, half: bool = False
    ) -> DeviceCases | None:
        """Cases copied to a device; None where they do not fit.

        Parameters
        ----------
        cases : sequence of Prepared
        device : torch.device
        budget : int
            Bytes they may take.
        half : bool
            Whether images that fit in float16 only are kept so: for a network that computes in 16
            bits that is no loss.
        """
        mapped, labels = cls.mapped(cases), sum(case.labels.nbytes for case in cases)
        images = sum(case.image.nbytes for case in cases)
        if labels + images <= budget:
            kind = torch.float32
        elif half and labels + images // 2 <= budget and mapped.in_range(_HALF_RANGE):
            kind = torch.float16
        else:
            return None
        try:
            copies = [image.to(device, kind, copy=True) for image in mapped.images]
            return cls(copies, [own.to(device, copy=True) for own in mapped.labels])
        except torch.OutOfMemoryError:  # another process took what was free
            return None

    def in_range(self, most: float) -> bool:
        """Whether no intensity is larger than `most`, either way."""
        return all(float(image.abs().amax()) <= most for image in self.images)

    def cut(self, crops: Sequence[Crop], region: Triple) -> tuple[Tensor, Tensor]:
        """Patches around their centres, zero where the scan ends.

        Parameters
        ----------
        crops : sequence of Crop
        region : tuple of int
            Voxels of each patch.

        Returns
        -------
        image_BCIJK : torch.Tensor
            float32, on the device of the cases.
        labels_BIJK : torch.Tensor
            uint8 class indices; what lies outside the scan is background.
        """
        device, channels = self.labels[0].device, self.images[0].shape[0]
        shape, pinned = (len(crops), channels, *region), self.pinned
        image = torch.empty(shape, device=device, pin_memory=pinned).zero_()
        labels = torch.empty(
            (len(crops), *region), dtype=torch.uint8, device=device, pin_memory=pinned
        ).zero_()
        for number, crop in enumerate(crops):
            own = self.labels[crop.case]
            inside, outside = _overlap(crop.centre, region, own.shape)
            image[number][:, *outside] = self.images[crop.case][:, *inside]
            labels[number][outside] = own[inside]
        return image, labels


def _overlap(
    centre: Sequence[int], region: Sequence[int], size: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What a patch shows of a scan, in voxels of the scan and of the patch."""
    inside, outside = [], []
    for middle, wide, most in zip(centre, region, size, strict=True):
        start = middle - wide // 2
        low, high = max(start, 0), min(start + wide, most)
        inside.append(slice(low, high))
        outside.append(slice(low - start, high - start))
    return tuple(inside), tuple(outside)


def free_bytes(device: torch.device) -> int:
    """Memory of a CUDA device that nobody uses, what torch holds in reserve included."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
