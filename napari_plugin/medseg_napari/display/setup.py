"""All that turns a napari viewer into a place to read scans: letters, mouse, keys, read-outs."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

from medseg_napari import dropped_files
from medseg_napari.display import mouse, overlays, shortcuts
from medseg_napari.display.window_level import target_layer, window_text
from medseg_napari.display_settings import choose, on_change, setting
from medseg_napari.layers import FOREIGN, KEY, provenance_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

READ_OUT = "medseg_window"
_TEXT_RGBA = (0.85, 0.87, 0.9, 1.0)
_BOX_RGBA = (0.0, 0.0, 0.0, 0.6)


def install(viewer: ViewerModel) -> None:
    """Equip a viewer; a second call changes nothing."""
    from napari.components.overlays import TextOverlay

    overlays.install(viewer)
    if READ_OUT in viewer.canvas.overlays:
        return
    viewer.canvas.overlays[READ_OUT] = TextOverlay(
        position="bottom_left",
        font_size=11,
        color=_TEXT_RGBA,
        box=True,
        box_color=_BOX_RGBA,
        visible=False,
    )
    mouse.install(viewer)
    _follow_viewer(viewer)
    dropped_files.install()


def toggle_dropped_files(viewer: ViewerModel) -> None:
    """Open dropped medical files with medseg from now on, or let napari ask again."""
    from napari.utils.notifications import show_info

    install(viewer)
    taken = not setting("files", "take_dropped")
    choose("files", "take_dropped", taken)
    dropped_files.apply_setting()
    outcome = "open with medseg" if taken else "are asked about again"
    suffixes = ", ".join(pattern[1:] for pattern in dropped_files.PATTERNS)
    show_info(f"dropped {suffixes} files {outcome}")


def install_in_current_viewer() -> None:
    """Do :func:`install` in the viewer that is open, if there is one."""
    if "napari.viewer" not in sys.modules:
        return
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is not None:
        install(viewer)


def _follow_viewer(viewer: ViewerModel) -> None:
    """Follow layers and their windows, without keeping the viewer alive."""
    reference = weakref.ref(viewer)

    def show_window(_event: Any = None) -> None:
        if (shown := reference()) is not None:
            _show_window(shown)

    def follow(event: Any = None) -> None:
        if (shown := reference()) is not None:
            _listen(getattr(event, "value", None), show_window)
            shortcuts.follow(shown)
            _show_scale_bar(shown)
            _show_window(shown)

    for layer in viewer.layers:
        _listen(layer, show_window)
    viewer.layers.events.inserted.connect(follow)
    viewer.layers.events.removed.connect(follow)
    viewer.layers.selection.events.active.connect(show_window)

    def apply_setting(_event: Any = None) -> None:
        if (shown := reference()) is not None:
            overlays.refresh(shown)
            _show_scale_bar(shown)

    on_change("display", apply_setting)
    follow()


def _listen(layer: Any, show_window: Any) -> None:
    """Hear of changes of a layer's window; a layer that was added twice is heard once."""
    if hasattr(layer, "contrast_limits"):
        for emitter in (layer.events.contrast_limits, layer.events.visible):
            emitter.disconnect(show_window)
            emitter.connect(show_window)
        _widen_slider(layer)


def _widen_slider(layer: Any) -> None:
    """Let the contrast slider reach all values, not only those of the first window."""
    values = layer.metadata.get(KEY, {}).get("value_range")
    if values:
        black, white = layer.contrast_limits
        layer.contrast_limits_range = (min(values[0], black), max(values[1], white))


def _show_window(viewer: ViewerModel) -> None:
    layer = target_layer(viewer)
    overlay = viewer.canvas.overlays[READ_OUT]
    ours = layer is not None and overlays.holds_our_layer(viewer)
    overlay.text = window_text(layer) if ours and layer is not None else ""
    overlay.visible = bool(overlay.text)


def _show_scale_bar(viewer: ViewerModel) -> None:
    """In mm where there are millimetres; none over a picture without a size."""
    sources = [
        provenance_of(layer.metadata[KEY]) for layer in viewer.layers if KEY in layer.metadata
    ]
    if sources:
        sized = any(
            source.has_physical_size and source.format != FOREIGN.format for source in sources
        )
        bar = viewer.canvas.overlays.scale_bar
        bar.visible = bool(sized and setting("display", "scale_bar"))
