"""The corrections as commands: from the menu and the palette, on the chosen Labels layer."""

from __future__ import annotations

import functools
import logging
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

from medseg.errors import InputError, MedsegError
from medseg_napari.editing.operations import (
    AT_WORK,
    SMALL_VOXELS,
    TOOLS,
    Correction,
    Found,
    at_work,
    found_by,
    put,
)
from medseg_napari.editing.targets import Choices, Target, target_of
from medseg_napari.jobs import Done, Event, Failed, Job

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

logger = logging.getLogger(__name__)
_busy: weakref.WeakSet[Labels] = weakref.WeakSet()
"""Layers that a command works on in a thread."""


def correct(viewer: ViewerModel, tool: str, choices: Choices | None = None) -> str:
    """Run one correction on the active Labels layer and its active label, and say what it did.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose active layer is corrected.
    tool : str
    choices : Choices, optional
        The defaults without it, and to grow the intensities that the label has; the Labels panel
        offers others.

    Returns
    -------
    str
        What is shown to the person. A large label map is worked on in another thread; the words
        of its end are shown then.
    """
    from napari.layers import Labels

    active = viewer.layers.selection.active
    layer = active if isinstance(active, Labels) else None
    try:
        target = _free_target(viewer, layer)
    except MedsegError as error:
        return _warn(str(error))
    find = _grow_alike if tool == "Grow" and choices is None else TOOLS[tool]
    work = functools.partial(found_by, find, target.at_rest(), choices or Choices())
    if target.values.size <= SMALL_VOXELS:
        return _end(viewer, work())
    return _start(viewer, target, Job(functools.partial(at_work, work, AT_WORK[tool])), tool)


def _free_target(viewer: ViewerModel, layer: Labels | None) -> Target:
    target = target_of(layer, viewer.layers, viewer.dims)
    if target.layer in _busy:
        raise InputError(f"a correction of layer '{target.layer.name}' is at work; wait for it")
    return target


def _grow_alike(target: Target, choices: Choices) -> Correction:
    """Grow through intensities like those the label has; where there are none, the tool says."""
    from medseg.editing import intensity_range

    try:
        low, high = intensity_range(target.values, target.value, target.intensities())
    except MedsegError:
        return TOOLS["Grow"](target, choices)
    return TOOLS["Grow"](target, replace(choices, low=low, high=high))


def _start(viewer: ViewerModel, target: Target, job: Job, tool: str) -> str:
    """Work in a thread, with a bar in napari's activity; closing the layer stops it."""
    from napari.qt.threading import create_worker
    from napari.utils.notifications import show_info

    def on_event(event: Event) -> None:
        if target.layer not in viewer.layers:
            job.cancel.set()
        elif isinstance(event, Done):
            _busy.discard(target.layer)
            _end(viewer, event.result)
        elif isinstance(event, Failed):
            logger.error("%s\n%s", event.message, event.details)
            _warn(event.message)

    worker = create_worker(job.events, _start_thread=False, _progress={"desc": tool})
    worker.yielded.connect(on_event)
    worker.finished.connect(functools.partial(_busy.discard, target.layer))
    _busy.add(target.layer)
    worker.start()
    show_info(AT_WORK[tool])
    return AT_WORK[tool]


def _end(viewer: ViewerModel, found: Found) -> str:
    """Change the layer, unless it was closed meanwhile, and say so."""
    from napari.utils.notifications import show_info

    target, correction = found
    if isinstance(correction, MedsegError):
        return _warn(str(correction))
    if target.layer not in viewer.layers:
        return ""
    try:
        words = put(target, correction)
    except MedsegError as error:
        return _warn(str(error))
    show_info(words)
    return words


def _warn(words: str) -> str:
    from napari.utils.notifications import show_warning

    show_warning(words)
    return words


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
    """Smooth by 2 mm."""
    correct(viewer, "Smooth")


def grow(viewer: ViewerModel) -> None:
    """Grow by up to 10 mm through intensities like those the label has."""
    correct(viewer, "Grow")


def split_pieces(viewer: ViewerModel) -> None:
    """Make the second largest piece an organ of its own."""
    correct(viewer, "Split pieces")
