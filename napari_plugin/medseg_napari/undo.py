"""Changes of a Labels layer that one press of Ctrl-Z takes back, whatever their size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari.layers import Labels

Values = npt.NDArray[Any]


def put_values(layer: Labels, values: Values, *, where: tuple[slice, ...] | None = None) -> int:
    """Give voxels of a layer new values, as one step that can be undone; how many changed.

    Parameters
    ----------
    layer : napari.layers.Labels
    values : ndarray of int
        Of the layer's shape, or of the shape of `where`.
    where : tuple of slice, optional
        The part of the layer that `values` covers, one slice with a start for each axis.

    Raises
    ------
    ValueError
        When the shapes differ, or a value does not fit the layer's data type.
    """
    part = tuple(slice(0, size) for size in layer.data.shape) if where is None else where
    before = np.asarray(layer.data[part])
    if before.shape != values.shape:
        raise ValueError(f"{values.shape} values for {before.shape} voxels")
    limits = np.iinfo(layer.data.dtype)
    if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
        raise ValueError(f"label {values.max()} does not fit {layer.data.dtype}")
    changed = np.nonzero(before != values)
    if not changed[0].size:
        return 0
    starts = (cut.start or 0 for cut in part)
    index = tuple(axis_index + start for axis_index, start in zip(changed, starts, strict=True))
    layer.data_setitem(index, values[changed].astype(layer.data.dtype))
    return int(changed[0].size)
