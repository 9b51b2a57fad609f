"""A person's own MONAI transforms, after the plan's preparation of a whole scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, Randomizable
from torch import Tensor

from medseg.errors import InputError, PlanError, reason
from medseg.planning.plan import Plan
from medseg.volume.grid import Grid

Transform = Callable[[Any], Any]
IMAGE = "image"
"""Key of the scan, for dictionary transforms."""


def flattened(transforms: Transform | Sequence[Transform]) -> tuple[Transform, ...]:
    """The single transforms of one, several, or a `Compose`, in order.

    Raises
    ------
    InputError
        When one is random: what is drawn anew for each patch is augmentation.
    """
    compose = transforms if isinstance(transforms, Compose) else Compose(transforms)
    parts = tuple(compose.flatten().transforms)
    for part in parts:
        if isinstance(part, Randomizable):
            raise InputError(
                f"the transform {name_of(part)} is random, and a prediction runs what the training"
                " runs; give it as augmentation=",
                code="RANDOM_TRANSFORM",
            )
    return parts


def name_of(transform: Callable[..., Any]) -> str:
    """How an object that can be called is named in a plan and in sentences."""
    return getattr(transform, "__name__", type(transform).__name__)


def check_names(transforms: Sequence[Transform], plan: Plan) -> None:
    """Refuse transforms that are not those of a plan.

    Raises
    ------
    PlanError
        When a name differs, or one is missing; the message says what to give.
    """
    names = tuple(name_of(transform) for transform in transforms)
    if names != plan.transforms:
        wanted, got = (", ".join(each) or "none" for each in (plan.transforms, names))
        raise PlanError(
            f"the model was trained with own transforms, in this order: {wanted}; got: {got}; give"
            " those as transforms=",
            code="TRANSFORMS",
        )


def apply_transforms(image_CIJK: Tensor, transforms: Sequence[Transform], *, grid: Grid) -> Tensor:
    """A prepared scan after a person's own transforms.

    Parameters
    ----------
    image_CIJK : torch.Tensor
        Normalised, as the plan prepared it.
    transforms : sequence of callable
        MONAI's or others', for dictionaries with the key ``"image"`` or for arrays.
    grid : Grid
        Where the voxels lie.

    Returns
    -------
    torch.Tensor
        float32 of the same shape.

    Raises
    ------
    InputError
        When a transform fails, moves voxels, or gives what is not finite; the message names it.
    """
    affine = torch.from_numpy(grid.affine.copy())
    for transform in transforms:
        before = MetaTensor(image_CIJK, affine=affine)
        after = _after(transform, before)
        affine_after = np.asarray(getattr(after, "affine", affine), np.float64)
        stays = after.shape == before.shape and np.allclose(affine_after, affine, atol=1e-3)
        if not stays:
            raise InputError(
                f"the transform {name_of(transform)} moves voxels: it was given"
                f" {_size(before, grid.affine)} and made {_size(after, affine_after)}; orientation"
                " and spacing are the plan's",
                code="MOVED_VOXELS",
            )
        if not torch.isfinite(after).all():
            raise InputError(
                f"the transform {name_of(transform)} made voxels that are no finite numbers"
            )
        image_CIJK = after.as_tensor() if isinstance(after, MetaTensor) else after
    return image_CIJK


def _size(image: Tensor, affine: npt.NDArray[np.float64]) -> str:
    spacing = " x ".join(f"{mm:g}" for mm in np.linalg.norm(affine[:3, :3], axis=0))
    return f"{tuple(image.shape)} (channels, voxels) of {spacing} mm"


def _after(transform: Transform, image: MetaTensor) -> Tensor:
    """What one transform makes of an image, as float32."""
    try:
        if isinstance(transform, MapTransform):
            return torch.as_tensor(transform({IMAGE: image})[IMAGE]).float()
        return torch.as_tensor(transform(image)).float()
    except Exception as error:  # another's code; it may raise anything
        raise InputError(
            f"the transform {name_of(transform)} fails on a prepared scan of {tuple(image.shape)}"
            f" (channels, voxels): {reason(error)}; dictionary transforms get the key '{IMAGE}'"
        ) from error
