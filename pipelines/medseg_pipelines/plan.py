"""Journey: what a plan says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.augmentation import PACKAGE, augmentation_settings
from medseg.errors import InputError
from medseg.model_package import find_package
from medseg.planning import Normalisation, Plan, read_plan
from medseg.runtime import registry
from medseg_pipelines.console import Console

UNITS = ("degrees", "mm", "voxels", "std")
"""Last words of a setting's name that say its unit."""
_DIRECTIONS = {
    "R": "right",
    "L": "left",
    "A": "front",
    "P": "back",
    "S": "head",
    "I": "feet",
}


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
    for sentence in sentences(plan_from(source)):
        console.print(sentence)


def plan_from(source: str) -> Plan:
    """The plan in a file, of a run, or of a model."""
    path = Path(source)
    if path.is_file():
        return read_plan(path)
    if (path / "plan.json").is_file():
        return read_plan(path / "plan.json")
    if path.suffix == ".json":
        raise InputError(f"there is no plan '{path}'")
    return find_package(source).manifest.plan


def sentences(plan: Plan) -> Iterator[str]:
    """Each choice of a plan as a sentence."""
    directions = ", ".join(_DIRECTIONS[letter] for letter in plan.orientation)
    yield (
        f"Scans are turned so that their axes grow to {directions} ({plan.orientation}), and"
        f" resampled to {_by(plan.spacing_mm)} mm."
    )
    for channel, rule in zip(plan.channels, plan.normalisation, strict=True):
        yield f"Channel {channel}: {_normalised(rule)}."
    seen = "volumes" if plan.plane is None else f"{plan.plane} slices"
    size_mm = [n * mm for n, mm in zip(plan.patch, plan.spacing_mm, strict=True)]
    yield (
        f"The network {_component(plan.network.name, plan.network.settings)} sees {seen} in patches"
        f" of {_by(plan.patch)} voxels ({_by(size_mm)} mm), {plan.batch} in a training step."
    )
    if plan.regions:
        yield f"Its channels are {len(plan.regions)} regions that may hold one another."
    yield f"It learns by the loss {_component(plan.loss.name, plan.loss.settings)}."
    yield f"At inference neighbouring patches overlap by {plan.overlap:.0%}."
    yield from _augmentation(plan)


def _augmentation(plan: Plan) -> Iterator[str]:
    """A line for each random change of training patches."""
    rows = augmentation_settings(plan)
    if not rows:
        yield "Training patches are not augmented."
        return
    yield "Training patches are changed at random, in this order:"
    for name, settings in rows:
        summary = str(registry.load(PACKAGE, name).__doc__).splitlines()[0].split(":")[0]
        values = {field: getattr(settings, field) for field in settings.__struct_fields__}
        often = values.pop("probability")
        parts = [_setting(field, value) for field, value in values.items()]
        yield (
            f"- {name} with probability {often:g}: {summary[0].lower()}{summary[1:]}"
            f" ({', '.join(parts)})"
        )


def _setting(field: str, value: Any) -> str:
    """A setting in words: ``rotation_degrees=20`` is "rotation 20 degrees"."""
    *words, last = field.split("_")
    unit = f" {last}" if words and last in UNITS else ""
    label = " ".join(words if unit else field.split("_"))
    if isinstance(value, bool):
        return f"{label} {'yes' if value else 'no'}"
    if field.endswith("axes"):
        return f"{label} {', '.join(str(axis) for axis in value) or 'none'}"
    if isinstance(value, tuple):
        return f"{label} {value[0]:g} to {value[1]:g}{unit}"
    return f"{label} {value:g}{unit}"


def _normalised(rule: Normalisation) -> str:
    """What becomes of a channel's intensities."""
    if rule.scheme == "zscore":
        return "each scan is scaled by its own mean and standard deviation"
    if rule.scheme == "none":
        return "intensities stay as they are"
    return (
        f"intensities are clipped to {rule.low:g}..{rule.high:g}, then {rule.mean:g} is subtracted"
        f" and they are divided by {rule.std:g}"
    )


def _component(name: str, settings: dict[str, Any]) -> str:
    """A name with its settings."""
    words = ", ".join(f"{key} {_plain(value)}" for key, value in settings.items())
    return f"{name} ({words})" if words else name


def _plain(value: Any) -> str:
    """A setting's value without quotes or brackets of single numbers."""
    if isinstance(value, list | tuple):
        joined = (
            "x" if value and all(isinstance(n, int) for n in value) and len(value) <= 3 else ", "
        )
        return joined.join(_plain(item) for item in value)
    return str(value)


def _by(numbers: Any) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
