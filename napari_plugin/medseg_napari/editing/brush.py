"""A brush in millimetres on the canvas: a ball or a disc, limited to a range if asked.

Each stroke, from pressing the left button to letting it go, is one undoable step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import InputError, MedsegError
from medseg_napari.display.navigation import stepped_axis
from medseg_napari.editing.label_tables import table_of, visibility_of
from medseg_napari.editing.targets import (
    commit,
    image_under,
    rules_of,
    spacing_of,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from medseg.editing import Brush

_LEFT = 1


@dataclass(frozen=True)
class BrushOptions:
    """How the brush paints.

    Parameters
    ----------
    radius_mm : float
        Of the ball or disc.
    flat : bool
        Whether it stays in the shown slice.
    erases : bool
        Whether it paints background.
    over_labels : bool
        Whether it may take voxels of other labels.
    low, high : float or None
        Intensities of the scan below that it paints; None for all.
    """

    radius_mm: float = 5.0
    flat: bool = False
    erases: bool = False
    over_labels: bool = False
    low: float | None = None
    high: float | None = None


class BrushTool:
    """The brush at work in a viewer, on one layer at a time.

    `options` gives the current `BrushOptions` at the start of each stroke; `show_message` takes one
    sentence when a stroke is impossible.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        options: Callable[[], BrushOptions],
        show_message: Callable[[str], None],
    ) -> None:
        self._viewer, self._options, self._show_message = viewer, options, show_message
        self.layer: Labels | None = None
        self.released: Callable[[], None] = lambda: None

    def take(self, layer: Labels) -> None:
        """Paint on `layer` from now on; dragging no longer moves the view."""
        self.put_down()
        layer.mode = "pan_zoom"
        layer.mouse_pan = False
        layer.mouse_drag_callbacks.append(self._stroke)
        layer.events.mode.connect(self._on_mode)
        self._viewer.dims.events.ndisplay.connect(self._on_mode)
        self.layer = layer
        self.show_size()

    def put_down(self) -> None:
        """Stop painting; dragging moves the view again."""
        layer, self.layer = self.layer, None
        if layer is None:
            return
        layer.events.mode.disconnect(self._on_mode)
        self._viewer.dims.events.ndisplay.disconnect(self._on_mode)
        if self._stroke in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._stroke)
        if layer.mode == "pan_zoom":
            layer.mouse_pan = True
            layer.cursor = "standard"

    def show_size(self) -> None:
        """Draw the cursor as large as the brush."""
        if self.layer is not None:
            self.layer.cursor = "circle"
            self.layer.cursor_size = 2 * self._options().radius_mm

    def _on_mode(self, _event: Any = None) -> None:
        """Another tool of napari was chosen, or the view became 3-D, where nothing is painted."""
        self.put_down()
        self.released()

    def _stroke(self, layer: Labels, event: Any) -> Iterator[None]:
        if event.button != _LEFT or self._viewer.dims.ndisplay != 2:
            return
        options = self._options()
        with layer.block_history():
            last = np.asarray(layer.world_to_data(event.position))[-3:]
            changed = self._dab(layer, options, last, last)
            if changed is None:
                return
            yield
            while event.type == "mouse_move":
                here = np.asarray(layer.world_to_data(event.position))[-3:]
                changed += self._dab(layer, options, last, here) or 0
                last = here
                yield
        if not changed:
            self._show_message(_why_nothing(layer, options, last))

    def _dab(self, layer: Labels, options: BrushOptions, start: Any, end: Any) -> int | None:
        """Paint from one position to the next: voxels that changed; None when it is impossible."""
        from medseg.editing import paint

        try:
            value = _value(layer, options)
            brush = self._brush(layer, options)
            image = self._intensities(layer, options)
            rules = rules_of(layer, over_labels=options.over_labels)
            points = brush.stroke(start, end)
            edit = paint(
                np.asarray(layer.data), points, value, brush=brush, rules=rules, image=image
            )
        except MedsegError as error:
            self._show_message(str(error))
            return None
        return commit(layer, edit)

    def _brush(self, layer: Labels, options: BrushOptions) -> Brush:
        from medseg.editing import Brush

        flat_axis = stepped_axis(self._viewer.dims) if options.flat else None
        return Brush(
            options.radius_mm, spacing_of(layer), flat_axis, low=options.low, high=options.high
        )

    def _intensities(self, layer: Labels, options: BrushOptions) -> Any:
        if options.low is None and options.high is None:
            return None
        image = image_under(layer, self._viewer.layers)
        if image is None:
            raise InputError(
                "a range needs the scan under the labels; open it, or untick the range"
            )
        return np.asarray(image.data)


def _value(layer: Labels, options: BrushOptions) -> int:
    """What the brush paints."""
    value = 0 if options.erases else int(layer.selected_label)
    if value == 0 and not options.erases:
        raise InputError("choose an organ in the list first; the background is active now")
    return value


def _why_nothing(layer: Labels, options: BrushOptions, position: Any) -> str:
    """Which rule let a stroke that ended at a position of the layer change nothing."""
    at = tuple(np.clip(np.rint(position).astype(int), 0, np.asarray(layer.data.shape) - 1))
    value = int(layer.data[at])
    names = {label.value: label.name for label in table_of(layer)}
    name = names.get(value, f"label {value}")
    if value in visibility_of(layer).locked:
        return f"nothing changed: {name} is locked here; untick Lock to change it"
    if value and value != layer.selected_label and not (options.over_labels or options.erases):
        return f"nothing changed: {name} is here; tick 'Over other organs' to paint over it"
    if options.low is not None and not (value and options.erases):
        return "nothing changed: no voxel under the brush is within the range"
    return "nothing changed: it is as the stroke would have it"


class PointPicker:
    """Collects `count` voxels of a layer, clicked with the left button, for `done`."""

    def __init__(
        self, layer: Labels, count: int, done: Callable[[list[tuple[int, int, int]]], None]
    ) -> None:
        self._layer, self._count, self._done = layer, count, done
        self._points: list[tuple[int, int, int]] = []
        layer.mode = "pan_zoom"
        layer.cursor = "cross"
        layer.mouse_drag_callbacks.append(self._clicked)

    def stop(self) -> None:
        """Collect no more."""
        if self._clicked in self._layer.mouse_drag_callbacks:
            self._layer.mouse_drag_callbacks.remove(self._clicked)
            self._layer.cursor = "standard"

    def _clicked(self, layer: Labels, event: Any) -> None:
        if event.button != _LEFT:
            return
        at = np.rint(layer.world_to_data(event.position))[-3:].astype(int)
        i, p, el = (int(n) for n in np.clip(at, 0, np.asarray(layer.data.shape) - 1))
        self._points.append((i, p, el))
        if len(self._points) == self._count:
            self.stop()
            self._done(self._points)
