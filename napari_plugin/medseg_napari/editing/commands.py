"""The corrections as commands: from the menu and the palette, on the active label map."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from medseg.errors import InputError, MedsegError
from medseg_napari.editing.active_layers import active_layers_of
from medseg_napari.editing.operations import (
    PROGRESS_TEXTS,
    SMALL_VOXELS,
    TOOLS,
    Correction,
    put,
    run_in_thread,
)
from medseg_napari.editing.targets import Target, ToolOptions, target_of
from medseg_napari.jobs import Done, Event, Failed, is_last
from medseg_napari.workers import JobRunner

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from medseg.runtime.progress import Progress

logger = logging.getLogger(__name__)
_runners: weakref.WeakKeyDictionary[Labels, JobRunner] = weakref.WeakKeyDictionary()
"""Those of the layers that a command works on in a thread."""


def correct(viewer: ViewerModel, tool: str, options: ToolOptions | None = None) -> str:
    """Run one tool on the active label map and its active label, and say what it did.

    Without `options` to grow takes the intensities that the label has. A large label map is worked
    on in another thread, and the message of its end is shown then.
    """
    layer = active_layers_of(viewer).labels
    find = _grow_alike if tool == "Grow" and options is None else TOOLS[tool]
    options = options or ToolOptions()
    try:
        target = _free_target(viewer, layer)
        if target.values.size <= SMALL_VOXELS:
            return _end(viewer, target, find(target, options))
    except MedsegError as error:
        return _warn(str(error))
    target, text = target.snapshot(), PROGRESS_TEXTS[tool]
    _start(viewer, target, functools.partial(run_in_thread, find, target, options, text), tool)
    return _notify(text)


def _free_target(viewer: ViewerModel, layer: Labels | None) -> Target:
    target = target_of(layer, viewer.layers, viewer.dims)
    if target.layer in _runners:
        raise InputError(f"a correction of layer '{target.layer.name}' is at work; wait for it")
    return target


def _grow_alike(target: Target, options: ToolOptions) -> Correction:
    """Grow through intensities like those the label has; where there are none, the tool says."""
    from medseg.editing import intensity_range

    try:
        low, high = intensity_range(target.values, target.value, target.intensities())
    except MedsegError:
        return TOOLS["Grow"](target, options)
    return TOOLS["Grow"](target, replace(options, low=low, high=high))


def _start(
    viewer: ViewerModel, target: Target, work: Callable[[Progress], Correction], tool: str
) -> None:
    """Work in a thread, with a bar in napari's activity; closing the layer stops it."""
    runner = JobRunner()

    def on_event(event: Event) -> None:
        if is_last(event):
            _runners.pop(target.layer, None)
            runner.deleteLater()  # lets go of this function, and so of the copy of the voxels
        if isinstance(event, Done):
            _end(viewer, target, event.result)
        elif isinstance(event, Failed):
            logger.error("%s\n%s", event.message, event.details)
            _warn(event.message)
        elif target.layer not in viewer.layers:
            runner.stop()

    runner.event.connect(on_event)
    _runners[target.layer] = runner
    runner.start(work, progress_bar=tool)


def _notify(text: str) -> str:
    from napari.utils.notifications import show_info

    show_info(text)
    return text


def _end(viewer: ViewerModel, target: Target, correction: Correction) -> str:
    """Change the layer, unless it was closed meanwhile, and say so."""
    if target.layer not in viewer.layers:
        return ""
    try:
        text = put(target, correction)
    except MedsegError as error:
        return _warn(str(error))
    return _notify(text)


def _warn(text: str) -> str:
    from napari.utils.notifications import show_warning

    show_warning(text)
    return text


def fill_between(viewer: ViewerModel) -> None:
    """Fill between slices of the shown plane."""
    correct(viewer, "Fill between slices")


def fill_holes(viewer: ViewerModel) -> None:
    """Fill holes."""
    correct(viewer, "Fill holes")


def keep_largest(viewer: ViewerModel) -> None:
    """Keep the largest piece."""
    correct(viewer, "Largest piece")


def smooth(viewer: ViewerModel) -> None:
    """Smooth by 1 mm; the volume stays."""
    correct(viewer, "Smooth")


def grow(viewer: ViewerModel) -> None:
    """Grow by up to 10 mm through intensities like those the label has."""
    correct(viewer, "Grow")


def split_pieces(viewer: ViewerModel) -> None:
    """Make the second largest piece a label of its own."""
    correct(viewer, "Split pieces")
