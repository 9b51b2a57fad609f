"""A person's own MONAI transforms, after the plan's preparation of a whole scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, Randomizable
from monai.transforms import Transform as BaseTransform
from torch import Tensor

from medseg.errors import InputError, PlanError, reason
from medseg.planning.plan import Plan
from medseg.preprocessing.transforms import ForKeys
from medseg.reading.monai_reader import grid_of

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
            " those in Python: Predictor.load(..., transforms=...)",
            code="TRANSFORMS",
        )


class OwnTransform(BaseTransform):  # type: ignore[misc]
    """A person's transform on a prepared scan, whose voxels have to stay where they are.

    Parameters
    ----------
    transform : callable
        MONAI's or another's, for dictionaries with the key ``"image"`` or for arrays.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, data: MetaTensor) -> MetaTensor:
        """Change ``data`` (C, I, J, K); float32 comes out, with the meta that went in.

        Raises
        ------
        InputError
            When the transform fails, moves voxels, or gives what is not finite; the message names
            it.
        """
        name, grid = name_of(self.transform), grid_of(data)
        after = _after(self.transform, data.clone())
        moved = grid_of(after) if isinstance(after, MetaTensor) else grid
        if after.shape != data.shape or not moved.same_as(grid):
            raise InputError(
                f"the transform {name} moves voxels: it was given {_size(data)} and made"
                f" {_size(after)}, or turned or shifted them; orientation and spacing are the"
                " plan's, and what crops comes after the pipeline",
                code="MOVED_VOXELS",
            )
        if not torch.isfinite(after).all():
            raise InputError(f"the transform {name} made voxels that are no finite numbers")
        values = after.as_tensor() if isinstance(after, MetaTensor) else after
        return MetaTensor(values, meta=data.meta, applied_operations=data.applied_operations)


class OwnTransformd(ForKeys):
    """`OwnTransform` for dictionaries."""

    array = OwnTransform


def _size(image: Tensor) -> str:
    affine = getattr(image, "affine", None)
    if affine is None:
        return f"{tuple(image.shape)} (channels, voxels)"
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
