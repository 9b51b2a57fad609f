"""The augmentations of a plan, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medseg.augmentation.protocol import EVERY, Augmentation, ResamplingAugmentation

if TYPE_CHECKING:
    from monai.transforms import Compose

MARGIN = 0.12
"""A patch is cut this much wider on each side, so that rotated ones have few empty corners."""

Triple = tuple[int, int, int]


class AugmentationPipeline:
    """Changes patches at random; the same for the same seed.

    Parameters
    ----------
    parts : sequence of Augmentation
        In order; the last one that resamples cuts `patch` out of `region`.
    patch : tuple of int
        Voxels of what comes out.
    slice_axis : int or None
        Axis of one voxel that 2-D parts do not see.

    Attributes
    ----------
    region : tuple of int
        Voxels of what goes in: `patch`, or wider where a part resamples.
    """

    def __init__(
        self, parts: Sequence[Augmentation], *, patch: Triple, slice_axis: int | None = None
    ) -> None:
        resampling = [part for part in parts if isinstance(part, ResamplingAugmentation)]
        for last in resampling[-1:]:
            last.size = tuple(n for axis, n in enumerate(patch) if axis != slice_axis)
        self.parts = tuple(parts)
        self.patch = patch
        self.region = _wider(patch) if resampling else patch
        self.slice_axis = slice_axis

    def __call__(
        self, image_CIJK: Tensor, label_IJK: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Change one patch.

        Parameters
        ----------
        image_CIJK : torch.Tensor
            float32 of spatial size `region`.
        label_IJK : torch.Tensor
            int64 class indices of the same size.
        seed : int

        Returns
        -------
        image_CIJK, label_IJK : torch.Tensor
            Of spatial size `patch`.
        """
        generator = torch.Generator().manual_seed(seed)
        image, label = self.batched(image_CIJK[None], label_IJK[None], generator)
        return image[0], label[0]

    def batched(
        self,
        image_BCIJK: Tensor,
        label_BIJK: Tensor,
        generator: torch.Generator,
        *,
        of: int | None = None,
        rows: slice = EVERY,
    ) -> tuple[Tensor, Tensor]:
        """Change a batch on its device, each sample by its own draw.

        Parameters
        ----------
        image_BCIJK : torch.Tensor
            Of spatial size `region`.
        label_BIJK : torch.Tensor
            Class indices of the same size.
        generator : torch.Generator
            Of the host.
        of : int, optional
            Samples of a larger batch, of which these are the `rows`: they are changed as they are
            there.
        rows : slice, optional

        Returns
        -------
        image_BCIJK, label_BIJK : torch.Tensor
            Of spatial size `patch`.
        """
        image, label = image_BCIJK, label_BIJK
        if self.slice_axis is not None:
            image, label = image.squeeze(self.slice_axis + 2), label.squeeze(self.slice_axis + 1)
        for part in self.parts:
            image, label = part.batched(image, label, generator, of=of, rows=rows)
        if self.slice_axis is None:
            return image, label
        return image.unsqueeze(self.slice_axis + 2), label.unsqueeze(self.slice_axis + 1)

    def transform(
        self, keys: Sequence[str] = ("image", "label"), *, label_keys: Sequence[str] = ("label",)
    ) -> Compose:
        """The same as a MONAI `Compose` of per-sample transforms; 2-D ones see no slice axis."""
        from monai.transforms import Compose

        return Compose([part.transform(keys, label_keys=label_keys) for part in self.parts])


def _wider(patch: Triple) -> Triple:
    """Voxels to cut for a patch that is resampled."""
    i, j, k = (n + 2 * math.ceil(MARGIN * n) if n > 1 else 1 for n in patch)
    return i, j, k
