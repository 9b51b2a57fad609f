"""The tools of the Labels panel: brush, corrections of the active organ, cut at two points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medseg.errors import MedsegError
from medseg_napari.editing.brush import BrushChoices, BrushTool, PointPicker
from medseg_napari.editing.operations import (
    AT_WORK,
    SMALL_VOXELS,
    TOOLS,
    Found,
    at_work,
    found_by,
    put,
    split_at,
)
from medseg_napari.editing.targets import Choices, Target, target_of
from medseg_napari.panels.labels_form import LabelsForm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel

_BRUSHES = ("Paint", "Erase")


class ToolBench:
    """Connects the buttons of a form to the library.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    form : LabelsForm
        Buttons, and the values beside them.
    edited : callable

    Attributes
    ----------
    brush : BrushTool
        Paints on the canvas.
    """

    def __init__(self, viewer: ViewerModel, form: LabelsForm, edited: Callable[[], None]) -> None:
        self._viewer, self._form, self._edited = viewer, form, edited
        self.brush = BrushTool(viewer, self.brush_choices, self._fail)
        self.brush.released = self._release_buttons
        self._picker: PointPicker | None = None
        for words in TOOLS:
            form.buttons[words].clicked.connect(functools.partial(self._on_tool, words))
        for words in _BRUSHES:
            form.buttons[words].clicked.connect(functools.partial(self._on_brush, words))
        form.buttons["Cut at two points"].clicked.connect(self._on_cut)
        form.buttons["Range from organ"].clicked.connect(self._on_range)
        form.radius.valueChanged.connect(self._on_radius)
        form.activity.changed.connect(self._show_busy)

    def choices(self) -> Choices:
        """What the person set beside the tools."""
        form = self._form
        return Choices(
            low=form.low.value(),
            high=form.high.value(),
            smooth_mm=form.smooth_mm.value(),
            grow_mm=form.grow_mm.value(),
            over_labels=form.over.isChecked(),
        )

    def brush_choices(self) -> BrushChoices:
        """What the person set beside the brush."""
        form = self._form
        limited = form.limited.isChecked()
        return BrushChoices(
            radius_mm=form.radius.value(),
            flat=form.flat.isChecked(),
            erases=form.buttons["Erase"].isChecked(),
            over_labels=form.over.isChecked(),
            low=form.low.value() if limited else None,
            high=form.high.value() if limited else None,
        )

    def put_down(self) -> None:
        """Leave the brush and the points alone."""
        self.brush.put_down()
        self._release_buttons()
        self._stop_picking()

    def _target(self) -> Target:
        return target_of(self._form.layers.layer(), self._viewer.layers, self._viewer.dims)

    def _on_tool(self, words: str, _checked: bool = False) -> None:
        self._stop_picking()
        with self._told():
            target = self._target()
            work = functools.partial(found_by, TOOLS[words], target.at_rest(), self.choices())
            self._start(work, target, AT_WORK[words])

    def _start(self, work: Callable[[], Found], target: Target, doing: str) -> None:
        """Let a tool work on a copy of the voxels: a large one in a thread, one at a time."""
        if target.values.size <= SMALL_VOXELS:
            self._end(work())
            return
        self._form.say("")
        self._form.activity.start(functools.partial(at_work, work, doing), self._end)

    def _end(self, found: Found) -> None:
        """Change the layer, unless it was closed meanwhile, and say so."""
        target, correction = found
        if isinstance(correction, MedsegError):
            self._fail(str(correction))
        elif target.layer in self._viewer.layers:
            with self._told():
                self._form.say(put(target, correction))
                self._edited()
        else:
            self._form.say("the layer was closed before the tool had ended", kind="warning")

    def _show_busy(self, busy: bool) -> None:
        for words in (*TOOLS, "Cut at two points"):
            self._form.buttons[words].setEnabled(not busy)

    def _on_range(self, _checked: bool = False) -> None:
        from medseg.editing import intensity_range

        with self._told():
            target = self._target()
            low, high = intensity_range(target.values, target.value, target.intensities())
            self._form.low.setValue(low)
            self._form.high.setValue(high)

    def _on_brush(self, words: str, _checked: bool = False) -> None:
        layer = self._form.layers.layer()
        self._stop_picking()
        if not self._form.buttons[words].isChecked() or layer is None or layer.data.ndim != 3:
            self.put_down()
            return
        other = _BRUSHES[1 - _BRUSHES.index(words)]
        self._form.buttons[other].setChecked(False)
        self._viewer.layers.selection.active = layer
        if self.brush.layer is not layer:
            self.brush.take(layer)
            self._form.buttons[words].setChecked(True)
        self._form.say("drag with the left button in a 2-D view; press again to move the view")

    def _on_cut(self, wanted: bool = False) -> None:
        self.put_down()
        if not wanted:
            return
        with self._told():
            target = self._target()
            self._form.buttons["Cut at two points"].setChecked(True)
            self._viewer.layers.selection.active = target.layer
            self._picker = PointPicker(target.layer, 2, functools.partial(self._cut, target))
            self._form.say("click two points of the organ, one in each part")

    def _cut(self, target: Target, seeds: list[tuple[int, int, int]]) -> None:
        self._stop_picking()
        work = functools.partial(found_by, split_at, target.at_rest(), seeds)
        with self._told():
            self._start(work, target, AT_WORK["Cut at two points"])

    def _stop_picking(self) -> None:
        picker, self._picker = self._picker, None
        if picker is not None:
            picker.stop()
        self._form.buttons["Cut at two points"].setChecked(False)

    def _release_buttons(self) -> None:
        for words in _BRUSHES:
            self._form.buttons[words].setChecked(False)

    def _on_radius(self, _value: float) -> None:
        self.brush.show_size()

    def _fail(self, words: str) -> None:
        self._form.say(words, kind="error")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the library become the panel's message."""
        try:
            yield
        except MedsegError as error:
            self._stop_picking()
            self._fail(str(error))
