"""Random changes of training patches, as MONAI transforms."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandSimulateLowResolutiond,
)
from torch import Tensor

from medseg.planning.plan import Plan

MARGIN = 0.12
"""A patch is cut this much wider on each side, so that turned ones have few empty corners."""

TURN = math.radians(20)
SMALL_TURN = math.radians(5)


class Augmentation:
    """Turns, scales, mirrors and changes the intensities of a patch; the same for the same seed.

    Parameters
    ----------
    plan : Plan
        Patch size, mirrored axes, plane, and the spacing that says about which axes turning is
        safe.
    """

    def __init__(self, plan: Plan) -> None:
        i, j, k = (n + 2 * math.ceil(MARGIN * n) if n > 1 else 1 for n in plan.patch)
        self.region = (i, j, k)
        self.slice_axis = plan.slice_axis
        spatial_axes = [axis for axis in range(3) if axis != plan.slice_axis]
        spacing = [plan.spacing_mm[axis] for axis in spatial_axes]
        keys = ["image", "label"]
        self.compose = Compose(
            [
                RandAffined(
                    keys,
                    prob=0.5,
                    spatial_size=[plan.patch[axis] for axis in spatial_axes],
                    rotate_range=_rotation_ranges(spacing),
                    scale_range=(0.15,) * len(spatial_axes),
                    mode=("bilinear", "nearest"),
                    padding_mode="zeros",
                ),
                *(
                    RandFlipd(keys, prob=0.5, spatial_axis=spatial_axes.index(axis))
                    for axis in plan.mirror_axes
                    if axis in spatial_axes
                ),
                RandGaussianNoised("image", prob=0.1, std=0.1),
                RandGaussianSmoothd(
                    "image", prob=0.1, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0), sigma_z=(0.5, 1.0)
                ),
                RandScaleIntensityd("image", prob=0.15, factors=0.25),
                RandSimulateLowResolutiond(
                    "image",
                    prob=0.1,
                    zoom_range=(0.5, 1.0),
                    upsample_mode="trilinear" if len(spatial_axes) == 3 else "bilinear",
                ),
                RandAdjustContrastd("image", prob=0.2, gamma=(0.7, 1.5), retain_stats=True),
            ]
        )

    def __call__(
        self, image_CIJK: Tensor, label_IJK: Tensor, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Change one patch."""
        self.compose.set_random_state(seed=seed)
        pair = {"image": image_CIJK, "label": label_IJK[None].float()}
        if self.slice_axis is not None:
            pair = {key: value.squeeze(self.slice_axis + 1) for key, value in pair.items()}
        changed = self.compose(pair)
        image, label = changed["image"].as_tensor(), changed["label"].as_tensor()
        if self.slice_axis is not None:
            image, label = (x.unsqueeze(self.slice_axis + 1) for x in (image, label))
        return image, label[0].round().long()


def _rotation_ranges(spacing_mm: Sequence[float]) -> tuple[float, ...]:
    """Largest angle about each axis; small where it would mix axes of unlike spacing."""
    if len(spacing_mm) == 2:
        return (_rotation_range(spacing_mm),)
    pairs = ([mm for other, mm in enumerate(spacing_mm) if other != axis] for axis in range(3))
    return tuple(_rotation_range(pair) for pair in pairs)


def _rotation_range(pair_mm: Sequence[float]) -> float:
    """Largest angle in a plane of two spacings."""
    return TURN if max(pair_mm) < 1.5 * min(pair_mm) else SMALL_TURN
