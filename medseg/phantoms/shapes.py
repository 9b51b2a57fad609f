"""Solids with a formula, in the patient's RAS+ millimetres: how far each point is from them.

Every solid answers with an approximate signed distance in mm: negative inside, 0 on the surface.
It depends on the position only, never on a grid, so one patient can be scanned on any grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medseg.volume.grid import FloatArray, Grid

Field = npt.NDArray[np.float32]
Points = tuple[Field, Field, Field]
"""x, y, z of every voxel centre, each of shape (I, J, K), RAS+ mm."""


class Solid(Protocol):
    """A body in space."""

    def distance_mm(self, points: Points) -> Field:
        """Approximate signed distance of `points` to the surface, mm; negative inside."""


@dataclass(frozen=True)
class Superellipsoid:
    """A rotated ellipsoid, or something between an ellipsoid and a box.

    Parameters
    ----------
    centre_mm : tuple of float
        RAS+ position of its centre.
    radii_mm : tuple of float
        Half-axes before rotation.
    rotation : ndarray, shape (3, 3)
        Its columns are the directions of the half-axes.
    exponent : float, default 2
        2 is an ellipsoid; larger is closer to a box.
    """

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    rotation: FloatArray
    exponent: float = 2.0

    def distance_mm(self, points: Points) -> Field:
        """Approximate signed distance of `points` to the surface, mm; negative inside."""
        offsets = [axis - np.float32(c) for axis, c in zip(points, self.centre_mm, strict=True)]
        level = np.zeros_like(points[0])
        for column, radius in enumerate(self.radii_mm):
            along = sum(
                offset * np.float32(self.rotation[world, column] / radius)
                for world, offset in enumerate(offsets)
            )
            level += np.abs(np.asarray(along, np.float32)) ** np.float32(self.exponent)
        level **= np.float32(1.0 / self.exponent)
        return (level - np.float32(1.0)) * np.float32(np.min(self.radii_mm))


@dataclass(frozen=True)
class Column:
    """An elliptic column along the patient's length."""

    centre_mm: tuple[float, float]
    radii_mm: tuple[float, float]

    def distance_mm(self, points: Points) -> Field:
        """Approximate signed distance of `points` to the surface, mm; negative inside."""
        x, y, _ = points
        across = (x - np.float32(self.centre_mm[0])) / np.float32(self.radii_mm[0])
        along = (y - np.float32(self.centre_mm[1])) / np.float32(self.radii_mm[1])
        distance: Field = (np.hypot(across, along) - np.float32(1)) * np.float32(min(self.radii_mm))
        return distance


@dataclass(frozen=True)
class Vessel:
    """A tube that runs along the patient's length in a gentle wave.

    Parameters
    ----------
    centre_mm : tuple of float
        x and y of its axis where z = 0.
    radius_mm : float
    sway_mm, wavelength_mm, phase : float
    """

    centre_mm: tuple[float, float]
    radius_mm: float
    sway_mm: float = 4.0
    wavelength_mm: float = 240.0
    phase: float = 0.0

    def distance_mm(self, points: Points) -> Field:
        """Approximate signed distance of `points` to the surface, mm; negative inside."""
        x, y, z = points
        turn = np.float32(2 * np.pi / self.wavelength_mm)
        middle = np.float32(self.sway_mm) * np.sin(z * turn + np.float32(self.phase))
        across = x - np.float32(self.centre_mm[0]) - middle
        middle_y = y - np.float32(self.centre_mm[1])
        distance: Field = np.hypot(across, middle_y) - np.float32(self.radius_mm)
        return distance


@dataclass(frozen=True)
class Union:
    """Several solids grown into one."""

    parts: tuple[Solid, ...]

    def distance_mm(self, points: Points) -> Field:
        """Approximate signed distance of `points` to the surface, mm; negative inside."""
        distance: Field = np.minimum.reduce([part.distance_mm(points) for part in self.parts])
        return distance


@dataclass(frozen=True)
class Clipped:
    """The part of a solid that lies inside another one."""

    solid: Solid
    inside: Solid

    def distance_mm(self, points: Points) -> Field:
        """Approximate signed distance of `points` to the surface, mm; negative inside."""
        inside = self.inside.distance_mm(points)
        distance: Field = np.maximum(self.solid.distance_mm(points), inside)
        return distance


def voxel_centres(grid: Grid) -> Points:
    """World position of every voxel centre of `grid`.

    Returns
    -------
    tuple of ndarray, each of shape (I, J, K)
        x, y, z in RAS+ mm, float32.
    """
    i, j, k = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
    rows = grid.affine[:3]
    x, y, z = ((row[0] * i + row[1] * j + row[2] * k + row[3]).astype(np.float32) for row in rows)
    return x, y, z


def rotation(degrees: Sequence[float]) -> FloatArray:
    """Rotation matrix, shape (3, 3), of turns about x, then y, then z, in degrees."""
    matrix: FloatArray = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[b, a], turn[a, b] = np.sin(angle), -np.sin(angle)
        matrix = turn @ matrix
    return matrix


def waves(
    points: Points, *, count: int, wavelength_mm: float, amplitude: float, seed: int
) -> Field:
    """A smooth random field: plane waves in random directions, a function of position only.

    Parameters
    ----------
    points : Points
    count : int
    wavelength_mm : float
        Mean wavelength; each wave has 0.7 to 1.3 times it.
    amplitude : float
        Root mean square of the field.
    seed : int
        Of directions, wavelengths and phases.

    Returns
    -------
    ndarray of float32, shape (I, J, K)
    """
    random = np.random.default_rng(seed)
    field = np.zeros_like(points[0])
    for _ in range(count):
        direction = random.normal(size=3)
        direction *= 2 * np.pi / np.linalg.norm(direction)
        x, y, z = (direction / (wavelength_mm * random.uniform(0.7, 1.3))).astype(np.float32)
        phase = np.float32(random.uniform(0, 2 * np.pi))
        field += np.sin(points[0] * x + points[1] * y + points[2] * z + phase)
    return field * np.float32(amplitude * np.sqrt(2.0 / count))
