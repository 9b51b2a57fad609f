"""The tools of the Labels panel: brush, corrections of the active label, cut at two points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medseg.errors import MedsegError
from medseg_napari.editing.brush import BrushOptions, BrushTool, PointPicker
from medseg_napari.editing.operations import (
    PROGRESS_TEXTS,
    SMALL_VOXELS,
    TOOLS,
    Correction,
    put,
    run_in_thread,
    split_at,
)
from medseg_napari.editing.targets import Target, ToolOptions, target_of
from medseg_napari.panels.labels_form import LabelsForm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel

_BRUSHES = ("Paint", "Erase")


class EditTools:
    """Connects the buttons of a form to the library."""

    def __init__(
        self,
        viewer: ViewerModel,
        form: LabelsForm,
        edited: Callable[[], None],
        make_labels: Callable[[], None],
    ) -> None:
        self._viewer, self._form, self._edited = viewer, form, edited
        self._make_labels = make_labels
        self.brush = BrushTool(viewer, self.brush_options, self._warn)
        self.brush.released = self._release_buttons
        self._picker: PointPicker | None = None
        for text in TOOLS:
            form.buttons[text].clicked.connect(functools.partial(self._on_tool, text))
        for text in _BRUSHES:
            form.buttons[text].clicked.connect(functools.partial(self._on_brush, text))
        form.buttons["Cut at two points"].clicked.connect(self._on_cut)
        form.buttons["Range from organ"].clicked.connect(lambda _on=False: self._set_range())
        form.radius.valueChanged.connect(lambda _value: self.brush.show_size())
        form.job.changed.connect(self._show_busy)

    def options(self) -> ToolOptions:
        """What the person set beside the tools."""
        form = self._form
        return ToolOptions(
            low=form.low.value(),
            high=form.high.value(),
            smooth_mm=form.smooth_mm.value(),
            grow_mm=form.grow_mm.value(),
            over_labels=form.over.isChecked(),
        )

    def brush_options(self) -> BrushOptions:
        """What the person set beside the brush."""
        form = self._form
        limited = form.limited.isChecked()
        return BrushOptions(
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

    def _on_tool(self, text: str, _checked: bool = False) -> None:
        self._stop_picking()
        with self._errors_shown():
            self._run(TOOLS[text], self._target(), self.options(), PROGRESS_TEXTS[text])

    def _run(
        self, tool: Callable[..., Correction], target: Target, options: Any, text: str
    ) -> None:
        """Let a tool work: on a large label map in a thread, with a copy of the voxels."""
        if target.values.size <= SMALL_VOXELS:
            self._end(target, tool(target, options))
            return
        target = target.snapshot()
        work = functools.partial(run_in_thread, tool, target, options, text)
        self._form.job.start(work, functools.partial(self._end, target))

    def _end(self, target: Target, correction: Correction) -> None:
        """Change the layer, unless it was closed meanwhile, and say so."""
        job = self._form.job
        if target.layer not in self._viewer.layers:
            job.show_message("the layer was closed before the tool had ended", kind="warning")
            return
        with self._errors_shown():
            job.show_message(put(target, correction))
            self._edited()

    def _show_busy(self, busy: bool) -> None:
        for text in (*TOOLS, "Cut at two points"):
            self._form.buttons[text].setEnabled(not busy)

    def _set_range(self) -> None:
        from medseg.editing import intensity_range

        with self._errors_shown():
            target = self._target()
            low, high = intensity_range(target.values, target.value, target.intensities())
            self._form.low.setValue(low)
            self._form.high.setValue(high)

    def _on_brush(self, text: str, _checked: bool = False) -> None:
        self._stop_picking()
        checked = self._form.buttons[text].isChecked()
        if checked and self._form.layers.layer() is None:
            self._make_labels()
            self._form.buttons[text].setChecked(checked)
        layer = self._form.layers.layer()
        if not checked or layer is None or layer.data.ndim != 3:
            self.put_down()
            return
        other = _BRUSHES[1 - _BRUSHES.index(text)]
        self._form.buttons[other].setChecked(False)
        self._viewer.layers.selection.active = layer
        if self.brush.layer is not layer:
            self.brush.take(layer)
            self._form.buttons[text].setChecked(True)
        self._form.job.show_message(
            "drag with the left button in a 2-D view; press again to move the view"
        )

    def _on_cut(self, wanted: bool = False) -> None:
        self.put_down()
        if not wanted:
            return
        with self._errors_shown():
            target = self._target()
            self._form.buttons["Cut at two points"].setChecked(True)
            self._viewer.layers.selection.active = target.layer
            self._picker = PointPicker(target.layer, 2, functools.partial(self._cut, target))
            self._form.job.show_message("click two points of the organ, one in each part")

    def _cut(self, target: Target, seeds: list[tuple[int, int, int]]) -> None:
        self._stop_picking()
        with self._errors_shown():
            self._run(split_at, target, seeds, PROGRESS_TEXTS["Cut at two points"])

    def _stop_picking(self) -> None:
        picker, self._picker = self._picker, None
        if picker is not None:
            picker.stop()
        self._form.buttons["Cut at two points"].setChecked(False)

    def _release_buttons(self) -> None:
        for text in _BRUSHES:
            self._form.buttons[text].setChecked(False)

    def _warn(self, text: str) -> None:
        self._form.job.show_message(text, kind="warning")

    def _fail(self, text: str) -> None:
        self._form.job.show_message(text, kind="error")

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """Errors of the library become the panel's message."""
        try:
            yield
        except MedsegError as error:
            self._stop_picking()
            self._fail(str(error))
