"""What the person chose on the plugin's page of napari's Preferences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "display": {
            "convention": "radiological",
            "letters": True,
            "crosshair": True,
            "scale_bar": True,
            "wheel_scrolls": True,
            "drag_windows": True,
            "overlay_opacity": 0.5,
        },
        "inference": {
            "device": "auto",
            "overlap": 0.5,
            "tta": False,
            "backend": "torch",
            "max_memory_gb": 0.0,
        },
        "autosave": {"enabled": True, "minutes": 3},
        "files": {"take_dropped": False},
        "privacy": {"show_patient_text": False},
    }
)
"""What holds while nothing is chosen; the manifest says the same."""


def setting(section: str, name: str) -> Any:
    """A choice of the person, or its default."""
    settings = _section(section)
    default = DEFAULTS[section][name]
    return default if settings is None else getattr(settings, name, default)


def choose(section: str, name: str, value: object) -> None:
    """Make a choice for the person, which napari keeps; without a page of settings do nothing."""
    settings = _section(section)
    if settings is not None:
        setattr(settings, name, value)


def on_change(section: str, callback: Callable[[Any], None]) -> None:
    """Hear of every choice that is made under a heading."""
    settings = _section(section)
    if settings is not None:
        settings.events.connect(callback)


def off_change(section: str, callback: Callable[[Any], None]) -> None:
    """Hear no more of what :func:`on_change` told."""
    settings = _section(section)
    if settings is not None:
        settings.events.disconnect(callback)


def _section(section: str) -> Any:
    """The settings under a heading; None where the plugin is not registered with napari."""
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings("medseg"), section)
    except (KeyError, AttributeError):
        return None
