"""What a plan says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.augmentation import PACKAGE, build_augmentation
from medseg.errors import InputError
from medseg.model_package import find_package
from medseg.planning import Component, Normalisation, Plan, read_plan
from medseg.planning.sides import side_sentence
from medseg.runtime import registry
from medseg.runtime.class_parts import GIVEN, is_given
from medseg_pipelines.console import Console

_UNITS = ("degrees", "mm", "voxels", "std")
"""Last words of a setting's name that say its unit."""
_DIRECTIONS = {
    "R": ("right", "left"),
    "L": ("left", "right"),
    "A": ("front", "back"),
    "P": ("back", "front"),
    "S": ("head", "feet"),
    "I": ("feet", "head"),
}
"""Where an axis of each letter leads to, and where it comes from."""


def explain_plan(source: str, *, console: Console) -> None:
    """Say what a plan says, one sentence after the other.

    Parameters
    ----------
    source : str
        A plan's JSON file, a run's folder, a model's name or its folder.
    console : Console

    Raises
    ------
    InputError, PackageError
        When there is no such file, or nothing of that name.
    PlanError
        When the plan does not decode, or names an augmentation or setting that there is not.
    """
    for sentence in plan_sentences(_plan_from(source)):
        console.print(sentence)


def plan_sentences(plan: Plan) -> list[str]:
    """What a plan says, a sentence each."""
    return [*_preprocessing(plan), *_network(plan), *_augmentation(plan)]


def _plan_from(source: str) -> Plan:
    """The plan in a file, of a run, or of a model."""
    path = Path(source)
    stored = path / "plan.json" if path.is_dir() else path
    if stored.is_file():
        return read_plan(stored)
    if path.suffix == ".json":
        raise InputError(f"there is no plan '{path}'")
    manifest = find_package(source).manifest
    manifest.check_planned("explained as a plan")
    return manifest.plan


def _preprocessing(plan: Plan) -> Iterator[str]:
    """What becomes of a scan."""
    if plan.crop != "none":
        empty = "nothing but padding" if plan.crop == "padding" else "nothing but zeros"
        yield (
            f"Slices at a scan's edges that hold {empty} are cut off first; they are"
            " background in the result."
        )
    turned = f"are turned to {plan.orientation} (axes lead to {_towards(plan)})"
    if plan.native_axes:
        turned = f"keep their own axes, in the order {plan.orientation},"
    yield f"Scans {turned} and are resampled to {_times(plan.spacing_mm)} mm."
    if plan.normalise_first:
        yield "Intensities are scaled before the resampling."
    if plan.plane and plan.spacing_mm == (1.0, 1.0, 1.0):
        yield "Of pictures a pixel counts as 1 mm; rows run left to right, columns front to back."
    if plan.scan_mm is not None:
        yield f"The training scans are {_times(plan.scan_mm)} mm (median)."
    for channel, rule in zip(plan.channels, plan.normalisation, strict=True):
        yield f"Channel {channel}: {_normalised(rule)}."
    if plan.transforms:
        yield f"Then transforms that were given in Python follow: {', '.join(plan.transforms)}."


def _towards(plan: Plan) -> str:
    """Where in the body the network's axes lead."""
    return ", ".join(_DIRECTIONS[letter][0] for letter in plan.orientation)


def _normalised(rule: Normalisation) -> str:
    """What becomes of a channel's intensities."""
    if rule.nonzero:
        return (
            "voxels that are not 0 are scaled by their own mean and standard deviation in each"
            " scan, before it is resampled; the others stay 0"
        )
    if rule.scheme == "zscore":
        return "each scan is scaled by its own mean and standard deviation"
    if rule.scheme == "rescale":
        return "each scan is brought to 0..1 by its own smallest and largest value"
    if rule.scheme == "rgb01":
        return "intensities of 0 to 255 are brought to 0..1"
    if rule.scheme == "none":
        return "intensities stay as they are"
    return (
        f"intensities are clipped to {rule.low:g}..{rule.high:g}, then {rule.mean:g} is subtracted"
        f" and they are divided by {rule.std:g}"
    )


def _network(plan: Plan) -> Iterator[str]:
    """What learns, from what, and how it is used."""
    size_mm = [n * mm for n, mm in zip(plan.patch, plan.spacing_mm, strict=True)]
    yield (
        f"The network {_component(plan.network)} sees {_seen(plan)} patches of"
        f" {_times(plan.patch)} voxels ({_times(size_mm)} mm), {plan.batch} in a training step."
    )
    if plan.regions:
        yield f"Its channels are {len(plan.regions)} regions that may hold one another."
    yield f"It learns by the loss {_component(plan.loss)}."
    yield f"At inference neighbouring patches overlap by {plan.overlap:.0%}."
    lines = [_line(plan, axis) for axis in plan.mirror_axes]
    yield f"Axes that may be mirrored: {', '.join(lines) or 'none'}."
    if plan.side_doubt:
        yield side_sentence(exchanged=plan.exchanges_sides, doubt=plan.side_doubt)


def _seen(plan: Plan) -> str:
    if plan.plane == "first":
        return "2-D (along the first axis)"
    return plan.plane or "3-D"


def _line(plan: Plan, axis: int) -> str:
    """Both ends of an axis in the body, or the letter of a scan's own."""
    letter = plan.orientation[axis]
    return letter if plan.native_axes else "-".join(_DIRECTIONS[letter])


def _augmentation(plan: Plan) -> Iterator[str]:
    """A line for each random change of training patches."""
    given = [component.name for component in plan.augmentation if is_given(component.name)]
    if given:
        names = ", ".join(name.removeprefix(GIVEN) for name in given)
        yield f"Training patches are changed by transforms that were given in Python: {names}."
        return
    parts = build_augmentation(plan).parts
    if not parts:
        yield "Training patches are not augmented."
        return
    yield "Training patches are changed at random, in this order:"
    for component, part in zip(plan.augmentation, parts, strict=True):
        what = str(registry.load(PACKAGE, component.name).__doc__).split(":")[0]
        fields = part.settings.__struct_fields__
        values = ", ".join(_setting(field, getattr(part.settings, field)) for field in fields)
        yield f"- {component.name}: {what[0].lower()}{what[1:]} ({values})"


def _setting(field: str, value: Any) -> str:
    """A setting in words: ``rotation_degrees=20.0`` is "rotation 20 degrees"."""
    name, _, unit = field.rpartition("_")
    if unit not in _UNITS:
        name, unit = field, ""
    return f"{name.replace('_', ' ')} {_value(value)} {unit}".rstrip()


def _value(value: Any) -> str:
    """A value of a setting; two are a range."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " to ".join(_value(end) for end in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _component(component: Component) -> str:
    """A name with its settings."""
    settings = ", ".join(f"{key} {value}" for key, value in component.settings.items())
    return f"{component.name} ({settings})" if settings else component.name


def _times(numbers: Any) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
