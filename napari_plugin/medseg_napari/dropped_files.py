"""Medical files that are dropped on napari's window, opened without asking for a reader.

napari asks because several readers take these endings, and remembers an answer in its own
preferences; this gives the answer for the endings that are medical. Folders are left alone: napari
knows only all folders or a single one, and most folders are not DICOM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg_napari.display_settings import on_change, setting
from medseg_napari.layers import KEY

PATTERNS = ("*.dcm", "*.nii", "*.nii.gz", "*.nrrd", "*.mha")


def install() -> None:
    """Follow the preference from now on; an answer that a person gave napari itself stays."""
    on_change("files", apply_setting)
    if setting("files", "take_dropped"):
        apply_setting()


def apply_setting(_event: Any = None) -> None:
    """Tell napari what the person chose for dropped files."""
    from napari.settings import get_settings

    plugins = get_settings().plugins
    readers = with_ours if setting("files", "take_dropped") else without_ours
    wanted = readers(plugins.extension2reader)
    if wanted != plugins.extension2reader:
        plugins.extension2reader = wanted


def with_ours(readers: Mapping[str, str]) -> dict[str, str]:
    """Readers by pattern, with medseg for medical files that no reader was chosen for."""
    return {**dict.fromkeys(PATTERNS, KEY), **readers}


def without_ours(readers: Mapping[str, str]) -> dict[str, str]:
    """Readers by pattern, without those of :func:`with_ours`."""
    return {
        pattern: reader
        for pattern, reader in readers.items()
        if pattern not in PATTERNS or reader != KEY
    }
