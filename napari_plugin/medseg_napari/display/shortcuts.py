"""Keys of the plugin: bound while a scan of ours is open, and clashing with none of napari's.

napari ignores the key bindings of a manifest, so they are bound to the viewer. Alt with a letter
opens a menu or is taken (Alt-S and Alt-C copy the screen), so all of them are Alt with a digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from medseg_napari.display import commands
from medseg_napari.display.overlays import holds_our_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel

KEYS: Mapping[str, Callable[[Any], None]] = MappingProxyType(
    {
        "Alt-0": commands.window_dicom,
        "Alt-1": commands.window_soft_tissue,
        "Alt-2": commands.window_lung,
        "Alt-3": commands.window_bone,
        "Alt-4": commands.window_brain,
        "Alt-5": commands.window_liver,
        "Alt-6": commands.front_3d,
        "Alt-7": commands.axial,
        "Alt-8": commands.coronal,
        "Alt-9": commands.sagittal,
    }
)
"""Key to what it does."""


def follow(viewer: ViewerModel) -> None:
    """Bind the keys when there is a layer of ours, and let go of them when there is none."""
    bound = any(action in KEYS.values() for action in viewer.keymap.values())
    if holds_our_layer(viewer) == bound:
        return
    for key, action in KEYS.items():
        viewer.bind_key(key, None if bound else action, overwrite=True)
