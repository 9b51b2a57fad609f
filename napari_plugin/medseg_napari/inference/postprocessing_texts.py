"""The steps after the network that may be chosen, and what their usual settings are."""

from __future__ import annotations

from typing import NamedTuple


class StepChoice(NamedTuple):
    """A step as the person reads it, its settings in words, and its name."""

    text: str
    settings: str
    name: str


def step_choices() -> list[StepChoice]:
    """Every step of ``medseg.postprocessing`` with its usual settings; imports torch."""
    import msgspec

    from medseg import postprocessing
    from medseg.runtime import registry

    choices = []
    for name, part in registry.load_all(postprocessing.PACKAGE).items():
        defaults = msgspec.to_builtins(part.Settings())
        settings = ", ".join(f"{key} {_plain(value)}" for key, value in defaults.items())
        choices.append(StepChoice(name.replace("_", " "), settings, name))
    return choices


def _plain(value: object) -> str:
    if value is None:
        return "any"
    return "all" if value in ((), []) else str(value)
