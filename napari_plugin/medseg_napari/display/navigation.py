"""Go to a place of a label map: a voxel, or the next slice that holds an organ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg_napari.editing.targets import next_slice, stepped_axis

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels


def centre_on(viewer: ViewerModel, layer: Labels, index: tuple[int, int, int]) -> None:
    """Show the slices through a voxel, in the middle of the canvas.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        In 2-D or 3-D; zoom stays as it is.
    layer : napari.layers.Labels
    index : tuple of int
        The voxel.
    """
    dims = viewer.dims
    world = [float(n) for n in layer.data_to_world(index)]
    lead = dims.ndim - 3
    for axis in range(3):
        dims.set_point(lead + axis, world[axis])
    if dims.ndisplay == 2:
        shown = [world[axis - lead] for axis in dims.displayed]
        viewer.scene.camera.center = (0.0, *shown)


def step_to_slice(viewer: ViewerModel, layer: Labels, value: int, step: int) -> bool:
    """Show the next slice of the plane that holds a label.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        In 2-D.
    layer : napari.layers.Labels
    value : int
    step : {-1, 1}
        Backwards or forwards along the slider.

    Returns
    -------
    bool
        False when no further slice holds it.
    """
    dims = viewer.dims
    lead, axis = dims.ndim - 3, stepped_axis(dims)
    mm, start = float(layer.scale[-3:][axis]), float(layer.translate[-3:][axis])
    here = round((float(dims.point[lead + axis]) - start) / mm)
    at = next_slice(layer, value, axis=axis, at=here, step=step)
    if at is None:
        return False
    dims.set_point(lead + axis, start + at * mm)
    return True
