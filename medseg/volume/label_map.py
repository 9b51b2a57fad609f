"""Which structure each voxel belongs to, on a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, LabelError
from medseg.volume.conventions import World, grid_in
from medseg.volume.grid import Grid
from medseg.volume.label_table import LabelTable
from medseg.volume.scan import Provenance

WHOLE = 1e-3
"""How far a float may be from a whole number that it stands for, as arithmetic leaves it."""


@dataclass(frozen=True)
class Creator:
    """Who drew a label map, as DICOM asks.

    Parameters
    ----------
    kind : {"automatic", "semiautomatic", "manual"}
        A program alone, a person with a program, or a person.
    name, version : str
        Of the program; empty for manual labels.
    """

    kind: Literal["automatic", "semiautomatic", "manual"] = "automatic"
    name: str = "medseg"
    version: str = ""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Label values on a `Grid`, with the table that says what they mean.

    Parameters
    ----------
    values : ndarray of unsigned int, shape (I, J, K)
        0 is background. uint8 or uint16; other integer types are converted when they fit.
    grid : Grid
        Where the voxels lie.
    table : LabelTable
        Every value other than 0 must be in it.
    provenance : Provenance
        Of the scan that was labelled (the DICOM writers need its slices).
    creator : Creator or None
        Who drew it; None stands for medseg itself.

    Raises
    ------
    GeometryError
        When the values do not fit the grid.
    LabelError
        When a value is not a whole number, does not fit 16 bits or is not in the table.
    """

    values: npt.NDArray[Any]
    grid: Grid
    table: LabelTable
    provenance: Provenance = field(default_factory=Provenance)
    creator: Creator | None = None

    def __post_init__(self) -> None:
        if self.values.shape != self.grid.shape:
            raise GeometryError(
                f"labels of shape {self.values.shape} do not fit a grid of {self.grid.shape}"
            )
        values = as_label_values(self.values)
        self.table.check_values(present_values(values))
        view = values.view()
        view.setflags(write=False)
        object.__setattr__(self, "values", view)

    @classmethod
    def from_array(
        cls,
        array: npt.ArrayLike,
        affine: npt.ArrayLike,
        labels: LabelTable | Mapping[int, str],
        *,
        world: World = "RAS",
    ) -> LabelMap:
        """A label map of an array in memory.

        Parameters
        ----------
        array : array_like, shape (I, J, K)
            Whole numbers, 0 for the background.
        affine : array_like, shape (4, 4)
        labels : LabelTable or mapping of int to str
            What every value means, such as ``{1: "liver", 2: "spleen"}``.
        world : {"RAS", "LPS"}, default "RAS"
            As of :meth:`Scan.from_array`.

        Raises
        ------
        GeometryError
            When the array has other axes, or the affine places no voxels.
        LabelError
            When a value is no whole number, or `labels` does not name it.
        """
        values = np.asarray(array)
        if values.ndim != 3:
            raise GeometryError(
                f"an array of shape {values.shape} is no label map; give one value for each voxel"
                " as (I, J, K), a plane as (I, J, 1)"
            )
        table = labels if isinstance(labels, LabelTable) else LabelTable.of(dict(labels))
        return cls(values, grid_in(values.shape, affine, world), table)


def as_label_values(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`array` as uint8 or uint16 labels, refusing anything that would change a value.

    Parameters
    ----------
    array : ndarray
        Any real dtype; floats must be whole numbers, to a thousandth.

    Returns
    -------
    ndarray of uint8 or uint16
        The same object when it already is one.

    Raises
    ------
    LabelError
        When a value is fractional, not finite, negative or above 65535.
    """
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.size == 0 or array.dtype == bool:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < -WHOLE or high > 65535 + WHOLE:
        extent = "NaN" if np.isnan(low) else f"{low:g} to {high:g}"
        raise LabelError(f"label values must lie in 0..65535, found {extent}")
    whole = array if np.issubdtype(array.dtype, np.integer) else np.rint(array)
    if whole is not array and np.abs(whole - array).max() > WHOLE:
        raise LabelError("label values must be whole numbers; this looks like an intensity image")
    return whole.astype(np.uint8 if round(high) <= 255 else np.uint16)


def present_values(values: npt.NDArray[Any]) -> list[int]:
    """The distinct values of an unsigned label array, ascending; one pass, plane by plane."""
    return [int(value) for value in np.flatnonzero(voxel_counts(values))]


def voxel_counts(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """How many voxels hold each value; plane by plane, which is quick and needs little memory.

    Returns
    -------
    ndarray of int, shape (65536,)
        By value.
    """
    counts = np.zeros(65536, np.int64)
    is_flat = values.ndim < 2
    planes = values[None] if is_flat else np.moveaxis(values, int(np.argmax(values.strides)), 0)
    for plane in planes:
        plane_counts = np.bincount(plane.ravel(order="K"))
        counts[: plane_counts.size] += plane_counts
    return counts
