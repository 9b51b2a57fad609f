"""Random changes of training patches, as MONAI transforms."""

from __future__ import annotations

import math

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
        Patch size, mirrored axes, and the spacing that says about which axes turning is safe.
    """

    def __init__(self, plan: Plan) -> None:
        i, j, k = (n + 2 * math.ceil(MARGIN * n) for n in plan.patch)
        self.region = (i, j, k)
        both = ["image", "label"]
        self.compose = Compose([
            RandAffined(
                both,
                prob=0.5,
                spatial_size=plan.patch,
                rotate_range=_turns(plan.spacing_mm),
                scale_range=(0.15, 0.15, 0.15),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            *(RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in plan.mirror_axes),
            RandGaussianNoised("image", prob=0.1, std=0.1),
            RandGaussianSmoothd(
                "image", prob=0.1, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0), sigma_z=(0.5, 1.0)
            ),
            RandScaleIntensityd("image", prob=0.15, factors=0.25),
            RandSimulateLowResolutiond("image", prob=0.1, zoom_range=(0.5, 1.0)),
            RandAdjustContrastd("image", prob=0.2, gamma=(0.7, 1.5), retain_stats=True),
        ])  # fmt: skip

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
            Says which change.

        Returns
        -------
        image_CIJK, label_IJK : torch.Tensor
            Of the plan's patch size.
        """
        self.compose.set_random_state(seed=seed)
        changed = self.compose({"image": image_CIJK, "label": label_IJK[None].float()})
        label = changed["label"].as_tensor()[0].round().long()
        return changed["image"].as_tensor(), label


def _turns(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Largest angle about each axis; small where it would mix axes of unlike spacing."""
    i, j, k = (
        TURN if max(others) < 1.5 * min(others) else SMALL_TURN
        for others in (
            [mm for other, mm in enumerate(spacing_mm) if other != axis] for axis in range(3)
        )
    )
    return i, j, k
