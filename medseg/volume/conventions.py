"""Conversions between conventions: LPS and RAS, array orders, anatomical orders.

Every sign and every transpose that stands for a convention is written here and nowhere else
(a test looks for others): a sign that is flipped twice, or nowhere, swaps left and right in a
result that looks right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.volume.grid import FloatArray, Grid

RAS = "RAS"
"""Axes growing to the patient's right, anterior, superior: the order networks see."""

NATIVE = "IJK"
"""A scan's own axes, whatever they are in the body."""

World = Literal["RAS", "LPS"]
"""Where an affine leads: millimetres to the right, anterior and superior, as NIfTI and nibabel
count, or to the left, posterior and superior, as DICOM and ITK do."""

IPL = "IPL"
"""Axes growing to inferior, posterior, left: the order napari shows right way round."""

# DICOM (PS3.3 C.7.6.2.1.1) and ITK count x towards the patient's left and y towards posterior,
# NIfTI and networks trained on it towards right and anterior; z grows to superior in both.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AXIS_OF = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


def flip_lps_ras(affine: npt.ArrayLike) -> FloatArray:
    """Carry an affine from LPS+ world to RAS+ world, or back; it is its own inverse; shape (4, 4).

    Parameters
    ----------
    affine : array_like, shape (4, 4)
        Index to world mm.
    """
    flipped: FloatArray = _LPS_TO_RAS @ np.asarray(affine, np.float64)
    return flipped


def ras_from(affine: npt.ArrayLike, letters: str) -> FloatArray:
    """Carry an affine to RAS+ world from one whose axes grow towards other sides; shape (4, 4).

    Parameters
    ----------
    affine : array_like, shape (4, 4)
        Index to world mm.
    letters : str
        Of the sides, in the order right or left, anterior or posterior, superior or inferior.
    """
    signs = [float(_AXIS_OF[letter][1]) for letter in letters]
    carried: FloatArray = np.diag([*signs, 1.0]) @ np.asarray(affine, np.float64)
    return carried


def grid_in(shape: tuple[int, ...], affine: npt.ArrayLike, world: World) -> Grid:
    """The grid of an affine that leads to RAS+ or LPS+ millimetres.

    Parameters
    ----------
    shape : tuple of int
        Voxels along I, J, K.
    affine : array_like, shape (4, 4)
        Index to world mm.
    world : {"RAS", "LPS"}

    Raises
    ------
    GeometryError
        When the affine is no invertible 4 x 4 matrix, or `world` is another word.
    """
    if world not in get_args(World):
        raise GeometryError(
            f"the world of an affine is 'RAS' (NIfTI, nibabel) or 'LPS' (DICOM, ITK), got '{world}'"
        )
    given = Grid((shape[0], shape[1], shape[2]), np.asarray(affine, np.float64))
    return given if world == RAS else Grid(given.shape, flip_lps_ras(given.affine))


def flip_lps_ras_points(points_mm: npt.ArrayLike) -> FloatArray:
    """Carry points or vectors from LPS+ to RAS+, or back; shape (..., 3), mm."""
    flipped: FloatArray = np.asarray(points_mm, np.float64) * np.array([-1.0, -1.0, 1.0])
    return flipped


def affine_from_itk(
    spacing_mm: npt.ArrayLike, origin_mm: npt.ArrayLike, direction: npt.ArrayLike
) -> FloatArray:
    """RAS+ affine of an ITK image (LPS+ origin and direction cosines); shape (4, 4).

    Parameters
    ----------
    spacing_mm, origin_mm : array_like, shape (3,)
        As ITK gives them, for x, y, z.
    direction : array_like, shape (9,) or (3, 3)
        Row-major direction cosines, axes as columns.
    """
    affine = np.eye(4)
    cosines = np.asarray(direction, np.float64).reshape(3, 3)
    affine[:3, :3] = cosines * np.asarray(spacing_mm, np.float64)
    affine[:3, 3] = origin_mm
    return flip_lps_ras(affine)


def itk_from_affine(affine: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """ITK's (spacing_mm, origin_mm, direction (3, 3)) of a RAS+ affine.

    Raises
    ------
    GeometryError
        When the axes are sheared: ITK's direction matrix must be orthonormal.
    """
    lps = flip_lps_ras(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise GeometryError("this grid is sheared (gantry tilt), which ITK formats cannot hold")
    return spacing, lps[:3, 3], direction


def from_kji(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View an array in ITK/DICOM order (..., K, J, I) as (..., I, J, K), or back."""
    return array.swapaxes(-1, -3)


def affine_from_dicom(
    orientation: npt.ArrayLike,
    pixel_spacing_mm: npt.ArrayLike,
    first_mm: npt.ArrayLike,
    step_mm: npt.ArrayLike,
) -> FloatArray:
    """RAS+ affine of a stack of DICOM slices; I runs along columns' index, J along rows' index.

    Parameters
    ----------
    orientation : array_like, shape (6,)
        ImageOrientationPatient: direction of a row (growing column index), then of a column.
    pixel_spacing_mm : array_like, shape (2,)
        PixelSpacing: distance between rows, then between columns.
    first_mm : array_like, shape (3,)
        ImagePositionPatient of the slice with K = 0 (LPS+ mm).
    step_mm : array_like, shape (3,)
        From one slice's position to the next (LPS+ mm); not parallel to the normal under tilt.

    Returns
    -------
    ndarray, shape (4, 4)

    References
    ----------
    DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
    """
    row, column = np.asarray(orientation, np.float64).reshape(2, 3)
    between_rows, between_columns = np.asarray(pixel_spacing_mm, np.float64)
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = step_mm
    affine[:3, 3] = first_mm
    return flip_lps_ras(affine)


def dicom_from_affine(
    affine: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """What DICOM calls the parts of a RAS+ affine; the inverse of :func:`affine_from_dicom`.

    Parameters
    ----------
    affine : array_like, shape (4, 4)
        I along the column index, J along the row index, K along the slices.

    Returns
    -------
    orientation : ndarray, shape (6,)
        ImageOrientationPatient.
    pixel_spacing_mm : ndarray, shape (2,)
        PixelSpacing: between rows, then between columns.
    first_mm, step_mm : ndarray, shape (3,)
        ImagePositionPatient of K = 0, and from one slice to the next (LPS+ mm).
    """
    lps = flip_lps_ras(affine)
    lengths = np.linalg.norm(lps[:3, :2], axis=0)
    orientation = (lps[:3, :2] / lengths).T.ravel()
    return orientation, lengths[::-1], lps[:3, 3], lps[:3, 2]


def orientation_letters(grid: Grid) -> str:
    """Closest anatomical direction in which each of I, J, K grows, such as ``"LPS"``."""
    axes = _closest_axes(grid)
    return "".join(_LETTERS[world][sign > 0] for world, sign in axes)


def obliquity_degrees(grid: Grid) -> float:
    """Largest angle, in degrees, between a voxel axis and its closest anatomical axis."""
    axes = _closest_axes(grid)
    cosines = [abs(grid.direction[world, axis]) for axis, (world, _) in enumerate(axes)]
    return float(np.degrees(np.arccos(np.clip(min(cosines), -1.0, 1.0))))


@dataclass(frozen=True)
class Reorientation:
    """A transpose and flips that carry a grid to an anatomical order: no interpolation, exact back.

    Parameters
    ----------
    order : tuple of int
        The source axis that becomes target axis 0, 1, 2.
    flips : tuple of bool
        Whether each *target* axis is reversed.
    source : Grid
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    source: Grid

    @classmethod
    def towards(cls, grid: Grid, letters: str) -> Reorientation:
        """The reorientation after which the axes grow (closest to) `letters`.

        Parameters
        ----------
        grid : Grid
            The grid to carry over; oblique grids go to their closest axes.
        letters : str
            One of R/L, A/P, S/I for each target axis, such as ``"RAS"`` or ``"IPL"``; or I, J and K
            in some order: that axis of the grid, unturned.
        """
        if is_native(letters):
            i, j, k = (NATIVE.index(letter) for letter in letters)
            return cls((i, j, k), (False, False, False), grid)
        directions = [_AXIS_OF[letter] for letter in letters]
        if sorted(world for world, _ in directions) != [0, 1, 2]:
            raise GeometryError(f"'{letters}' does not name three different anatomical axes")
        axes = _closest_axes(grid)
        worlds = [world for world, _ in axes]
        order = [worlds.index(world) for world, _ in directions]
        flips = [axes[axis][1] != sign for axis, (_, sign) in zip(order, directions, strict=True)]
        return cls((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]), grid)

    @property
    def target(self) -> Grid:
        """The grid after."""
        step = np.zeros((4, 4))
        step[3, 3] = 1.0
        for axis, (source_axis, flipped) in enumerate(zip(self.order, self.flips, strict=True)):
            step[source_axis, axis] = -1.0 if flipped else 1.0
            step[source_axis, 3] = self.source.shape[source_axis] - 1 if flipped else 0
        shape = tuple(self.source.shape[axis] for axis in self.order)
        return Grid((shape[0], shape[1], shape[2]), self.source.affine @ step)

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View of `array`, shape (..., I, J, K) on the source grid, in the target order."""
        lead = array.ndim - 3
        transposed = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        view: npt.NDArray[Any] = transposed[self._slices()]
        return view

    def undo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View of `array`, shape (..., I, J, K) in the target order, back on the source grid."""
        lead = array.ndim - 3
        inverse = np.argsort(self.order)
        flipped: npt.NDArray[Any] = array[self._slices()]
        return flipped.transpose(*range(lead), *(lead + int(axis) for axis in inverse))

    def _slices(self) -> tuple[Any, ...]:
        return (..., *(slice(None, None, -1 if flipped else 1) for flipped in self.flips))


def is_native(letters: str) -> bool:
    """Whether letters name a scan's own axes in some order: ``"KJI"`` is SimpleITK's of arrays."""
    return sorted(letters) == sorted(NATIVE)


def _closest_axes(grid: Grid) -> list[tuple[int, int]]:
    """For each voxel axis its closest world axis and sign; every world axis is used once.

    Taking the largest cosine first keeps the result a permutation for oblique grids, where the
    largest of each row alone may name one world axis twice.
    """
    cosines = np.abs(grid.direction)
    axes: list[tuple[int, int]] = [(0, 1)] * 3
    for _ in range(3):
        world, axis = np.unravel_index(int(np.argmax(cosines)), (3, 3))
        axes[axis] = (int(world), 1 if grid.direction[world, axis] > 0 else -1)
        cosines[world, :] = -1.0
        cosines[:, axis] = -1.0
    return axes


def ipl_placement(grid: Grid) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Spacing and place of a grid in a world whose axes grow to inferior, posterior, left.

    That world, in which viewers show anatomy the right way round in 2-D and in 3-D, is
    ``(-z, y, x)`` of LPS.

    Parameters
    ----------
    grid : Grid
        Already turned to the order I, P, L; an oblique one keeps the place of its first voxel
        and loses its angle.

    Returns
    -------
    spacing_mm, first_mm : tuple of float
        Along I, P, L: between voxels, and of the centre of voxel (0, 0, 0).
    """
    left, posterior, superior = flip_lps_ras_points(grid.origin_mm)
    return grid.spacing_mm, (-float(superior), float(posterior), float(left))


def grid_from_ipl(
    shape: tuple[int, int, int], spacing_mm: npt.ArrayLike, first_mm: npt.ArrayLike
) -> Grid:
    """The grid, axes in the order I, P, L, that :func:`ipl_placement` describes.

    Parameters
    ----------
    shape : tuple of int
        Voxel counts along I, P, L.
    spacing_mm, first_mm : array_like, shape (3,)
    """
    inferior, posterior, left = np.asarray(first_mm, np.float64)
    steps = np.asarray(spacing_mm, np.float64)
    lps = np.zeros((4, 4))
    lps[[2, 1, 0], [0, 1, 2]] = steps
    lps[2, 0] = -steps[0]
    lps[:3, 3] = left, posterior, -inferior
    lps[3, 3] = 1.0
    return Grid(shape, flip_lps_ras(lps))
