"""The corrections as commands: from the menu and the palette, on the chosen Labels layer."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from medseg.errors import MedsegError
from medseg_napari.correcting.corrections import SMALL_VOXELS, TOOLS, Found, found_by, put
from medseg_napari.correcting.editing_layers import Choices, target_of

if TYPE_CHECKING:
    from napari.components import ViewerModel


def correct(viewer: ViewerModel, tool: str, choices: Choices | None = None) -> str:
    """Run one correction on the active Labels layer and its active label, and say what it did.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose active layer is corrected.
    tool : str
        One of `medseg_napari.correcting.editing_layers.TOOLS`.
    choices : Choices, optional
        The defaults without it; the Labels panel offers others.

    Returns
    -------
    str
        What is shown to the person. A large label map is worked on in another thread; the words
        of its end are shown then.
    """
    from napari.layers import Labels
    from napari.utils.notifications import show_warning

    active = viewer.layers.selection.active
    layer = active if isinstance(active, Labels) else None
    try:
        target = target_of(layer, viewer.layers, viewer.dims)
    except MedsegError as error:
        show_warning(str(error))
        return str(error)
    work = functools.partial(found_by, TOOLS[tool], target.at_rest(), choices or Choices())
    if target.values.size <= SMALL_VOXELS:
        return _end(viewer, work())
    from napari.qt.threading import create_worker

    worker = create_worker(work, _start_thread=False)
    worker.returned.connect(functools.partial(_end, viewer))
    worker.start()
    return f"{tool}: at work"


def _end(viewer: ViewerModel, found: Found) -> str:
    """Change the layer, unless it was closed meanwhile, and say so."""
    from napari.utils.notifications import show_info, show_warning

    target, correction = found
    if isinstance(correction, MedsegError):
        show_warning(str(correction))
        return str(correction)
    if target.layer not in viewer.layers:
        return ""
    words = put(target, correction)
    show_info(words)
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
    correct(viewer, "Grow", _range_of_active(viewer))


def _range_of_active(viewer: ViewerModel) -> Choices | None:
    """The intensities of the active label; None where they cannot be told: the tool says why."""
    from napari.layers import Labels

    from medseg.editing import intensity_range

    active = viewer.layers.selection.active
    if not isinstance(active, Labels):
        return None
    try:
        target = target_of(active, viewer.layers, viewer.dims)
        low, high = intensity_range(target.values, target.value, target.intensities())
    except MedsegError:
        return None
    return Choices(low=low, high=high)


def split_pieces(viewer: ViewerModel) -> None:
    """Make the second largest piece an organ of its own."""
    correct(viewer, "Split pieces")
