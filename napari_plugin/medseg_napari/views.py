"""Commands that turn the viewer to the planes radiologists name, and open a DICOM folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg_napari import overlays

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


def open_dicom_folder(viewer: Viewer) -> None:
    """Ask for a folder and open it with medseg, past napari's choice of readers."""
    from qtpy.QtWidgets import QFileDialog

    folder = QFileDialog.getExistingDirectory(None, "Open a DICOM folder with medseg")
    if folder:
        viewer.open(folder, plugin="medseg")
