"""A click, a scribble or a box in world millimetres, for or against a label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.errors import InputError

Point = tuple[float, float, float]
_POINTS = {"click": "one point", "scribble": "at least one point", "box": "two opposite corners"}


class Prompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One click, scribble or box; strict data, the same from a mouse, a script or a robot.

    Parameters
    ----------
    kind : {"click", "scribble", "box"}
    points_mm : tuple of point
        RAS+ mm. Of a click the one point, of a scribble the points of its curve, of a box two
        opposite corners; a box lies along the axes of the scan's voxels.
    label : int
        The structure it is about.
    positive : bool, default True
        Whether the structure is there. A box for a structure says that it is drawn within the box
        and left alone elsewhere, a box against it that nothing of it is in the box.

    Raises
    ------
    InputError
        When it has the wrong number of points, one that is not finite, or no label.
    """

    kind: Literal["click", "scribble", "box"]
    points_mm: tuple[Point, ...]
    label: int
    positive: bool = True

    def __post_init__(self) -> None:
        count = len(self.points_mm)
        if count != {"click": 1, "box": 2}.get(self.kind, max(count, 1)):
            raise InputError(
                f"a {self.kind} needs {_POINTS[self.kind]}, got {count}", code="PROMPT"
            )
        if not all(math.isfinite(x) for point in self.points_mm for x in point):
            raise InputError(
                f"a {self.kind} lies at {self.points_mm[0]} mm, which is no place; give finite"
                " numbers in RAS+ millimetres",
                code="PROMPT",
            )
        if not 0 < self.label <= 65535:
            raise InputError(
                f"a {self.kind} is for or against a label of 1 to 65535, got {self.label}; to take"
                " voxels away, click against their label",
                code="PROMPT",
            )

    @classmethod
    def click(cls, point_mm: npt.ArrayLike, label: int, *, positive: bool = True) -> Prompt:
        """A click at a point in RAS+ mm."""
        return cls(kind="click", points_mm=(_point(point_mm),), label=label, positive=positive)

    @classmethod
    def scribble(
        cls, points_mm: Sequence[npt.ArrayLike], label: int, *, positive: bool = True
    ) -> Prompt:
        """A curve through points in RAS+ mm."""
        points = tuple(_point(point) for point in points_mm)
        return cls(kind="scribble", points_mm=points, label=label, positive=positive)

    @classmethod
    def box(
        cls,
        corner_mm: npt.ArrayLike,
        opposite_mm: npt.ArrayLike,
        label: int,
        *,
        positive: bool = True,
    ) -> Prompt:
        """A box between the centres of two opposite corner voxels, in RAS+ mm."""
        corners = (_point(corner_mm), _point(opposite_mm))
        return cls(kind="box", points_mm=corners, label=label, positive=positive)


def _point(point_mm: npt.ArrayLike) -> Point:
    point = np.asarray(point_mm, np.float64)
    if point.shape != (3,):
        raise InputError(
            f"a point has three numbers, x, y and z in RAS+ mm, got {point_mm!r}", code="PROMPT"
        )
    return float(point[0]), float(point[1]), float(point[2])
