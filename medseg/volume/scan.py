"""Intensities on a grid, with modality and provenance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError, InputError
from medseg.volume.conventions import World, grid_in
from medseg.volume.grid import Grid
from medseg.volume.native_slices import NativeSlices


@dataclass(frozen=True)
class Provenance:
    """Where a scan came from; never holds patient text.

    Parameters
    ----------
    format : str
    files : tuple of Path
        The files read. For a DICOM stack exactly one file per K index, in K order.
    series_uid : str
        SeriesInstanceUID for DICOM, else empty.
    instance_uids : tuple of str
        SOPInstanceUID per K index for DICOM, else empty.
    notes : tuple of str
        What was repaired or is worth knowing, one sentence each.
    native : NativeSlices or None
        The files' own slices, where a repaired scan has others; DICOM results lie on them.
    laterality_known : bool, default True
        Whether the file says which side of the patient is which; pictures and projections do not.
    has_physical_size : bool, default True
        Whether the spacing is in mm; without it a pixel counts as 1 mm and is not.
    frame_of_reference_uid : str
        FrameOfReferenceUID for DICOM, else empty: places compare only within one.
    xform_code : int
        What NIfTI's form says that its world is (1 scanner, 2 aligned, 3 Talairach, 4 MNI...).
    """

    format: str = "memory"
    files: tuple[Path, ...] = ()
    series_uid: str = ""
    instance_uids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    native: NativeSlices | None = None
    laterality_known: bool = field(default=True, kw_only=True)
    has_physical_size: bool = field(default=True, kw_only=True)
    frame_of_reference_uid: str = field(default="", kw_only=True)
    xform_code: int = field(default=1, kw_only=True)


@dataclass(frozen=True, eq=False)
class Scan:
    """Intensities on a `Grid`.

    Parameters
    ----------
    voxels : ndarray, shape (C, I, J, K)
        Channels first; a 2-D picture has K = 1. Kept as given (no copy) and made read-only.
    grid : Grid
        Where the voxels lie.
    modality : str
        DICOM modality word (``"CT"``, ``"MR"``...), or ``""`` when unknown.
    provenance : Provenance
    time_step_s : float
        Seconds from one channel to the next, where channels are points of time; else 0.
    channel_names : tuple of str
        What each channel shows, where a dataset tells it; else empty.

    Raises
    ------
    GeometryError
        When the voxels do not fit the grid.
    InputError
        When the voxels are not real numbers.
    """

    voxels: npt.NDArray[Any]
    grid: Grid
    modality: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    time_step_s: float = 0.0
    channel_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.ndim != 4 or self.voxels.shape[1:] != self.grid.shape:
            raise GeometryError(
                f"voxels of shape {self.voxels.shape} do not fit a grid of {self.grid.shape};"
                " expected (channels, I, J, K)"
            )
        if not (np.issubdtype(self.voxels.dtype, np.number) or self.voxels.dtype == bool):
            raise InputError(f"voxels must be real numbers, got dtype {self.voxels.dtype}")
        if np.iscomplexobj(self.voxels):
            raise InputError("voxels are complex numbers; take magnitude or phase first")
        view = self.voxels.view()
        view.setflags(write=False)
        object.__setattr__(self, "voxels", view)

    @classmethod
    def from_array(
        cls,
        array: npt.ArrayLike,
        affine: npt.ArrayLike,
        *,
        world: World = "RAS",
        channel_axis: int | None = None,
        modality: str = "",
        channel_names: tuple[str, ...] = (),
    ) -> Scan:
        """A scan of an array in memory.

        Parameters
        ----------
        array : array_like, shape (I, J, K), or with one more axis for channels
            Real numbers, not copied. Arrays of SimpleITK and pydicom are (K, J, I): transpose them.
        affine : array_like, shape (4, 4)
            Index ``(i, j, k, 1)`` of a voxel centre to millimetres;
            ``np.diag([*spacing_mm, 1])`` where no more is known.
        world : {"RAS", "LPS"}, default "RAS"
            What these millimetres count: to the right, anterior and superior (nibabel), or to the
            left, posterior and superior (DICOM, ITK). Left and right are exchanged by the wrong
            one.
        channel_axis : int, optional
            Where the channels are: 0 for (C, I, J, K), -1 for (I, J, K, C) as nibabel has them.
        modality : str, optional
            DICOM modality word, such as ``"CT"`` (Hounsfield units) or ``"MR"``.
        channel_names : tuple of str, optional
            What each channel shows.

        Raises
        ------
        GeometryError
            When the array has other axes, or the affine places no voxels.
        InputError
            When the voxels are not real numbers, or there are not as many names as channels.

        Examples
        --------
        >>> Scan.from_array(np.zeros((64, 64, 30)), np.diag([1.5, 1.5, 4, 1])).grid.spacing_mm
        (1.5, 1.5, 4.0)
        """
        voxels = _channels_first(np.asarray(array), channel_axis)
        if channel_names and len(channel_names) != len(voxels):
            raise InputError(
                f"there are {len(channel_names)} channel names for {len(voxels)} channel(s); give"
                " one for each"
            )
        grid = grid_in(voxels.shape[1:], affine, world)
        return cls(voxels, grid, modality, channel_names=tuple(channel_names))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.voxels.shape[0])

    def check_finite(self) -> None:
        """Raise `InputError` naming the first voxel that is NaN or infinite, if there is one."""
        if not np.issubdtype(self.voxels.dtype, np.floating) or np.isfinite(self.voxels).all():
            return
        bad = ~np.isfinite(self.voxels)
        first = tuple(int(n) for n in np.unravel_index(int(bad.argmax()), bad.shape))
        where = self.provenance.files[0].name if self.provenance.files else "the scan"
        raise InputError(
            f"{where} holds {int(bad.sum())} NaN or infinite voxels, the first at (channel, i, j,"
            f" k) = {first}; replace them (for example by the background value) and try again",
            code="NOT_FINITE",
        )


def _channels_first(array: npt.NDArray[Any], channel_axis: int | None) -> npt.NDArray[Any]:
    """View of `array` with shape (C, I, J, K)."""
    expected = 3 if channel_axis is None else 4
    if array.ndim != expected or not -expected <= (channel_axis or 0) < expected:
        raise GeometryError(
            f"an array of shape {array.shape} with channel_axis={channel_axis} is no scan; give"
            " (I, J, K), a plane as (I, J, 1), or four axes and channel_axis=0 for (C, I, J, K),"
            " channel_axis=-1 for (I, J, K, C)"
        )
    return array[np.newaxis] if channel_axis is None else np.moveaxis(array, channel_axis, 0)
