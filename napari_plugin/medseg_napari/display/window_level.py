"""Window and level: presets, the drag of a mouse, the words for it, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from medseg.volume.contrast import intensity_limits
from medseg_napari.layers import KEY

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

_PIXELS_TO_DOUBLE = 150.0
_PIXELS_PER_WIDTH = 300.0
_NARROWEST = 1e-3


class WidthLevel(NamedTuple):
    """Values from black to white, and the one that is middle grey."""

    width: float
    level: float

    @property
    def limits(self) -> tuple[float, float]:
        """Black and white level."""
        return self.level - self.width / 2, self.level + self.width / 2


AUTO = "auto: all of the scan"
PRESETS: Mapping[str, WidthLevel] = MappingProxyType(
    {
        "soft tissue": WidthLevel(400, 40),
        "lung": WidthLevel(1500, -600),
        "bone": WidthLevel(2000, 350),
        "brain": WidthLevel(80, 40),
        "liver": WidthLevel(150, 60),
    }
)
"""Windows of CT in Hounsfield units."""


def target_layer(viewer: ViewerModel) -> Image | None:
    """The grey Image layer whose window is meant: the active one, else the topmost that shows."""
    from napari.layers import Image

    def grey(layer: Any) -> bool:
        return isinstance(layer, Image) and not layer.rgb

    active = viewer.layers.selection.active
    if grey(active):
        return active
    return next((layer for layer in reversed(viewer.layers) if grey(layer) and layer.visible), None)


def show_preset(viewer: ViewerModel, name: str) -> str:
    """Give the target layer one of `PRESETS`; empty, or why nothing changed."""
    layer = target_layer(viewer)
    if layer is None:
        return "there is no scan whose window could be set; open one first"
    modality = layer.metadata.get(KEY, {}).get("modality", "")
    if modality not in ("", "CT"):
        return f"'{layer.name}' is {modality}: the {name} window is in Hounsfield units of CT"
    layer.contrast_limits = PRESETS[name].limits
    return ""


def show_first_window(viewer: ViewerModel) -> str:
    """Give the target layer its DICOM window, or else the one of its opening.

    Empty when the header's window is shown, else what a person should know.
    """
    layer = target_layer(viewer)
    if layer is None:
        return "there is no scan whose window could be set; open one first"
    source = layer.metadata.get(KEY, {})
    if source.get("window"):
        layer.contrast_limits = source["window"]
        return ""
    layer.contrast_limits = source.get("first_limits") or layer.contrast_limits_range
    return f"the header of '{layer.name}' asks for no window; this is medseg's own choice"


def show_auto(viewer: ViewerModel) -> str:
    """Give the target layer the window of its own intensities; empty, or why nothing changed."""
    layer = target_layer(viewer)
    if layer is None:
        return "there is no scan whose window could be set; open one first"
    layer.contrast_limits = intensity_limits(layer.data)
    return ""


def dragged(start: WidthLevel, right_px: float, down_px: float) -> WidthLevel:
    """Width and level after a drag: to the right widens, up lifts the level (darkens)."""
    width = max(start.width * 2 ** (right_px / _PIXELS_TO_DOUBLE), _NARROWEST)
    return WidthLevel(width, start.level - down_px * start.width / _PIXELS_PER_WIDTH)


def width_level(limits: tuple[float, float]) -> WidthLevel:
    """Width and level of a black and a white level."""
    black, white = limits
    return WidthLevel(white - black, (black + white) / 2)


def window_text(layer: Image) -> str:
    """The window of a layer in words, and below it the name of its preset if it has one."""
    now = width_level(layer.contrast_limits)
    modality = layer.metadata.get(KEY, {}).get("modality", "")
    unit = " HU" if modality == "CT" else ""
    name = next(
        (preset_text for preset_text, preset in PRESETS.items() if _same_window(now, preset)), ""
    )
    preset_text = f"\n{name}" if name and modality in ("", "CT") else ""
    return f"W {_number(now.width)}  L {_number(now.level)}{unit}{preset_text}"


def _same_window(first: WidthLevel, second: WidthLevel) -> bool:
    return abs(first.width - second.width) < 0.5 and abs(first.level - second.level) < 0.5


def _number(value: float) -> str:
    """Whole, unless the window is a narrow one."""
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.3g}"
