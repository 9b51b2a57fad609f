"""Random changes of training patches, one file each; the file's name is the public name.

A plan lists them in order with their settings. Each has two forms of the same mathematics: a MONAI
per-sample transform, and a batched form on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from medseg.augmentation._pipeline import AugmentationPipeline, region_of
from medseg.augmentation.protocol import Augmentation
from medseg.planning.plan import Component, Plan, augmentation_preset, settings_of
from medseg.runtime import registry

PACKAGE = "medseg.augmentation"

__all__ = [
    "PACKAGE",
    "Augmentation",
    "AugmentationPipeline",
    "augmentation_preset",
    "augmentation_settings",
    "build_augmentation",
    "names",
]


def names() -> tuple[str, ...]:
    """Names of the augmentations there are."""
    return registry.names(PACKAGE)


def augmentation_settings(plan: Plan) -> list[tuple[str, Any]]:
    """Name and settings of each augmentation of a plan, in order.

    Parameters
    ----------
    plan : Plan
        Its ``mirror_axes`` complete the settings that have such a field and leave it out.

    Raises
    ------
    PlanError
        When a name or a setting is unknown, or a value is out of range.
    """
    rows = []
    for component in plan.augmentation:
        kind = registry.load(PACKAGE, component.name).Settings
        settings = component.settings
        if "mirror_axes" in kind.__struct_fields__:
            settings = {"mirror_axes": plan.mirror_axes, **settings}
        full = Component(name=component.name, settings=settings)
        rows.append((component.name, settings_of(full, kind, package=PACKAGE)))
    return rows


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
    rows = augmentation_settings(plan)
    parts = [_build(name, settings, plan, patch=plan.patch) for name, settings in rows]
    last = max((n for n, part in enumerate(parts) if part.resamples), default=-1)
    region = region_of(plan.patch, resampled=last >= 0)
    for n in range(last):  # only the last one cuts the margin off
        parts[n] = _build(*rows[n], plan, patch=region)
    return AugmentationPipeline(parts, patch=plan.patch, region=region, slice_axis=plan.slice_axis)


def _build(name: str, settings: Any, plan: Plan, *, patch: Sequence[int]) -> Augmentation:
    """A part for the axes that the plan's network sees."""
    seen = [axis for axis in range(3) if axis != plan.slice_axis]
    if "mirror_axes" in settings.__struct_fields__:
        mirrored = tuple(seen.index(axis) for axis in settings.mirror_axes if axis in seen)
        settings = structs.replace(settings, mirror_axes=mirrored)
    part: Augmentation = registry.load(PACKAGE, name).build(
        settings,
        spatial_dims=len(seen),
        spacing_mm=[plan.spacing_mm[axis] for axis in seen],
        patch=[patch[axis] for axis in seen],
    )
    return part
