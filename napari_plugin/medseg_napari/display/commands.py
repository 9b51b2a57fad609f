"""Commands that turn the viewer to the planes radiologists name, and open a DICOM folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg_napari.display import overlays
from medseg_napari.display.window_level import show_first_window, show_preset
from medseg_napari.display_settings import choose, setting
from medseg_napari.layers import KEY
from medseg_napari.time_points import shown_number, time_point

if TYPE_CHECKING:
    from napari.viewer import Viewer

PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""The world axis that is stepped through, then the ones shown downwards and to the right."""

_FROM_FRONT, _HEAD_UP = (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)


def axial(viewer: Viewer) -> None:
    """Slices from head to feet; front at the top, the patient's right on the left."""
    show_plane(viewer, "axial")


def coronal(viewer: Viewer) -> None:
    """Slices from front to back; head at the top, the patient's right on the left."""
    show_plane(viewer, "coronal")


def sagittal(viewer: Viewer) -> None:
    """Slices from right to left; head at the top, front on the left."""
    show_plane(viewer, "sagittal")


def show_plane(viewer: Viewer, plane: str) -> None:
    """Show one of `PLANES` in 2-D, fitted to the canvas."""
    lead = viewer.dims.ndim - 3
    if lead < 0:
        return
    overlays.install(viewer)
    viewer.dims.ndisplay = 2
    viewer.dims.order = (*range(lead), *(lead + axis for axis in PLANES[plane]))
    viewer.reset_view()


def front_3d(viewer: Viewer) -> None:
    """The patient in 3-D as seen by somebody who faces them: their right on the left."""
    if viewer.dims.ndim < 3:
        return
    overlays.install(viewer)
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    viewer.scene.camera.set_view_direction(_FROM_FRONT, _HEAD_UP)


def switch_convention(viewer: Viewer) -> None:
    """Put the patient's right on the other side of the screen, and remember it."""
    now = setting("display", "convention")
    choose("display", "convention", "radiological" if now == "neurological" else "neurological")
    overlays.refresh(viewer)


def window_dicom(viewer: Viewer) -> None:
    """The window that the DICOM header asks for."""
    _notify(show_first_window(viewer))


def window_soft_tissue(viewer: Viewer) -> None:
    """Width 400, level 40 HU."""
    _notify(show_preset(viewer, "soft tissue"))


def window_lung(viewer: Viewer) -> None:
    """Width 1500, level -600 HU."""
    _notify(show_preset(viewer, "lung"))


def window_bone(viewer: Viewer) -> None:
    """Width 2000, level 350 HU."""
    _notify(show_preset(viewer, "bone"))


def window_brain(viewer: Viewer) -> None:
    """Width 80, level 40 HU."""
    _notify(show_preset(viewer, "brain"))


def window_liver(viewer: Viewer) -> None:
    """Width 150, level 60 HU."""
    _notify(show_preset(viewer, "liver"))


def take_time_point(viewer: Viewer) -> None:
    """Add the shown time point of the active layer as a layer of its own."""
    from napari.layers import Layer

    active = viewer.layers.selection.active
    if active is None or active.metadata.get(KEY, {}).get("lead") != "T":
        _notify("choose a layer with time points (an axis T) in the layer list first")
        return
    number = shown_number(active, viewer.dims.point)
    data, attributes, _ = active.as_layer_data_tuple()
    viewer.add_layer(Layer.create(*time_point(data, attributes, number)))


def _notify(text: str) -> None:
    """A notice in the corner of the window, when there is something to say."""
    if text:
        from napari.utils.notifications import show_info

        show_info(text)


def open_dicom_folder(viewer: Viewer) -> None:
    """Ask for a folder and open it with medseg, past napari's choice of readers."""
    from qtpy.QtWidgets import QFileDialog

    folder = QFileDialog.getExistingDirectory(None, "Open a DICOM folder with medseg")
    if folder:
        viewer.open(folder, plugin="medseg")
