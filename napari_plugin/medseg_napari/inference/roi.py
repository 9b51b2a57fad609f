"""A box that a person draws: shapes in a Shapes layer, and the voxels of a scan inside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg_napari.display import commands

if TYPE_CHECKING:
    from napari.layers import Image, Shapes
    from napari.viewer import Viewer

    from medseg.inference import Roi

NAME = "box to segment"
_FLAT_VOXELS = 0.5
_EDGE = "#ffd54a"


def add_box_layer(viewer: Viewer, scan: Image) -> Shapes:
    """A Shapes layer over a scan with the rectangle tool at hand; a 3-D view turns to axial."""
    if viewer.dims.ndisplay == 3:
        commands.show_plane(viewer, "axial")
    layer = viewer.add_shapes(
        None,
        ndim=3,
        name=NAME,
        scale=scan.scale[-3:],
        translate=scan.translate[-3:],
        units=scan.units[-3:],
        axis_labels=scan.axis_labels[-3:],
        edge_color=_EDGE,
        face_color="transparent",
        edge_width=1,
    )
    layer.mode = "add_rectangle"
    return layer


def box_of(shapes: Shapes, scan: Image, *, first: int, last: int | None) -> Roi:
    """The voxels of a scan that the shapes of a layer enclose.

    Parameters
    ----------
    shapes : napari.layers.Shapes
        Any number of shapes; the box holds them all.
    scan : napari.layers.Image
        Its last three axes are space.
    first, last : int, int or None
        The slices to take along the axis across which the shapes are flat, both included; None is
        the scan's last. Shapes drawn on several slices give that extent themselves.

    Returns
    -------
    tuple of slice
        Along the layer's last three axes.

    Raises
    ------
    GeometryError
        When there is no shape, or it lies outside of the scan.
    """
    if not len(shapes.data):
        raise GeometryError(f"layer '{shapes.name}' holds no shape yet; draw a rectangle in it")
    corners = np.concatenate([_index(shape, shapes, scan) for shape in shapes.data])
    shape = scan.data.shape[-4:-1] if scan.rgb else scan.data.shape[-3:]
    return box_of_corners(corners, shape, first=first, last=last)


def box_of_corners(
    corners: npt.NDArray[np.float64], shape: Sequence[int], *, first: int, last: int | None
) -> Roi:
    """The voxels between corners, which are voxel indices with fractions, shape (N, 3)."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    flat = high - low < _FLAT_VOXELS
    stop = np.where(flat, np.inf if last is None else last, high)
    begin = np.where(flat, first, low)
    starts = np.clip(np.floor(begin + 0.5), 0, None)
    stops = np.minimum(np.floor(stop + 0.5) + 1, shape)
    if (starts >= stops).any():
        raise GeometryError(
            "the box holds no voxel of the scan; draw it over the scan, and choose slices from a"
            " lower to a higher number"
        )
    rows, columns, depth = (slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
    return rows, columns, depth


def _index(corners: Any, shapes: Shapes, scan: Image) -> npt.NDArray[np.float64]:
    """Corners of a shape as voxel indices of a scan, both layers being straight."""
    world = np.asarray(corners)[:, -3:] * shapes.scale[-3:] + shapes.translate[-3:]
    index: npt.NDArray[np.float64] = (world - scan.translate[-3:]) / scan.scale[-3:]
    return index
