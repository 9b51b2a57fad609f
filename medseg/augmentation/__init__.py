"""Random changes of training patches, one file each; the file's name is the public name.

A plan lists them in order with their settings. Each has two forms of the same mathematics: a MONAI
per-sample transform, and a batched form on the device.
"""

from __future__ import annotations

from medseg.augmentation._pipeline import AugmentationPipeline
from medseg.augmentation.protocol import Augmentation, PatchAxes
from medseg.errors import PlanError
from medseg.planning.plan import Component, Plan, settings_of
from medseg.runtime import class_parts, registry

PACKAGE = "medseg.augmentation"

__all__ = [
    "PACKAGE",
    "Augmentation",
    "AugmentationPipeline",
    "PatchAxes",
    "build_augmentation",
    "names",
]


def names() -> tuple[str, ...]:
    """Names of the augmentations there are."""
    return registry.names(PACKAGE)


def build_augmentation(plan: Plan) -> AugmentationPipeline:
    """What a plan does to its training patches.

    Parameters
    ----------
    plan : Plan
        Patch size, plane, spacing, mirrored axes, and the augmentations by name.

    Raises
    ------
    PlanError
        When a name or a setting is unknown, or a value is out of range.
    """
    axes = [axis for axis in range(3) if axis != plan.slice_axis]
    patch_axes = PatchAxes(
        spacing_mm=tuple(plan.spacing_mm[axis] for axis in axes),
        mirrored=tuple(n for n, axis in enumerate(axes) if axis in plan.mirror_axes),
    )
    parts = [_build(component, patch_axes) for component in plan.augmentation]
    return AugmentationPipeline(parts, patch=plan.patch, slice_axis=plan.slice_axis)


def _build(component: Component, axes: PatchAxes) -> Augmentation:
    """The part that a component names."""
    if class_parts.is_given(component.name):
        raise PlanError(
            f"the augmentation '{component.name.removeprefix(class_parts.GIVEN)}' was given as an"
            " object of Python; give it again: augmentation=...",
            code="GIVEN",
        )
    module = registry.load(PACKAGE, component.name)
    part: Augmentation = module.build(
        settings_of(component, module.Settings, package=PACKAGE), axes
    )
    return part
