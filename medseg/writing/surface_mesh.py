"""Closed surfaces of the structures in patient mm: STL, PLY with colours, OBJ with names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import WriteError
from medseg.volume import Label, LabelMap
from medseg.volume.bounding_box import bounding_box
from medseg.volume.conventions import flip_lps_ras_points
from medseg.volume.grid import CORNERS, FloatArray
from medseg.volume.label_map import present_values
from medseg.writing._atomic import atomic

suffixes = (".stl", ".ply", ".obj")

_EDGES = tuple(
    (first, second)
    for first in range(8)
    for second in range(first + 1, 8)
    if np.abs(CORNERS[first] - CORNERS[second]).sum() == 1
)
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_POINT = np.dtype([("position", "<f4", 3), ("color", "u1", 3)])
_FACE = np.dtype([("count", "u1"), ("points", "<i4", 3)])


@dataclass(frozen=True, eq=False)
class _Surface:
    """Points (N, 3) in LPS+ mm, and triangles (M, 3) of their rows, outwards by the right hand."""

    points: FloatArray
    triangles: npt.NDArray[np.intp]
    label: Label


def write_labels(labels: LabelMap, path: Path) -> None:
    """Write the surfaces of all structures that some voxel holds into one file.

    The form is that of :class:`medseg.writing.protocol.LabelWriter`; give one label to have one
    organ. Both .stl and .ply are binary, and .ply has the labels' colours; .obj is text, with one
    object of the label's name each.

    Notes
    -----
    Coordinates are LPS+ millimetres, as DICOM has them and 3D Slicer expects them; the header says
    ``SPACE=LPS``. Every surface is closed. The points are those of surface nets: the mean of the
    places where a cell of eight voxel centres is cut, halfway between in and out.

    References
    ----------
    Gibson, Constrained elastic surface nets, MICCAI 1998.
    """
    present = set(present_values(labels.values))
    surfaces = [_surface(labels, label) for label in labels.table if label.value in present]
    content = {".stl": _stl, ".ply": _ply, ".obj": _obj}[path.suffix.lower()](surfaces)
    with atomic(path, suffix=path.suffix.lower()) as temporary:
        temporary.write_bytes(content)
        if temporary.read_bytes() != content:
            raise WriteError("the file did not read back equal and was removed", code="SELF_CHECK")


def _surface(labels: LabelMap, label: Label) -> _Surface:
    """The closed surface of one structure."""
    mask = labels.values == label.value
    first, mask = _cropped(mask)
    padded = np.pad(mask, 1)
    cells, rows = _cut_cells(padded)
    index = cells + _centres(padded, cells) + (first - 1)
    triangles = _triangles(padded, rows)
    if np.linalg.det(labels.grid.affine[:3, :3]) < 0:  # I, J, K are a left-handed frame
        triangles = triangles[:, ::-1]
    return _Surface(flip_lps_ras_points(labels.grid.to_world(index)), triangles, label)


def _cropped(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """First index of the mask's extent, and the mask within it."""
    box = bounding_box(mask)
    assert box is not None
    return np.array([span.start for span in box]), mask[box]


def _cut_cells(padded: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Cells of eight neighbours, some in and some out: their indices (N, 3), and rows by cell."""
    shape = tuple(count - 1 for count in padded.shape)
    inside = np.zeros(shape, np.uint8)
    for i, j, k in CORNERS:
        inside += padded[i : i + shape[0], j : j + shape[1], k : k + shape[2]]
    cut = (inside > 0) & (inside < 8)
    rows = np.full(shape, -1, np.intp)
    rows[cut] = np.arange(cut.sum())
    return np.argwhere(cut), rows


def _centres(padded: npt.NDArray[np.bool_], cells: npt.NDArray[np.intp]) -> FloatArray:
    """Mean of the middles of the edges that the surface cuts, from each cell's first corner."""
    inside = np.stack([padded[tuple((cells + corner).T)] for corner in CORNERS], axis=1)
    total, count = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
    for first, second in _EDGES:
        cut = (inside[:, first] != inside[:, second])[:, None]
        total += cut * (CORNERS[first] + CORNERS[second]) / 2
        count += cut
    centres: FloatArray = total / count
    return centres


def _triangles(padded: npt.NDArray[np.bool_], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Two triangles for every pair of neighbours in and out, outwards where I, J, K are right."""
    triangles = []
    for axis in range(3):
        mask = np.moveaxis(padded, axis, 0)
        step = mask[1:].astype(np.int8) - mask[:-1]
        first, second = np.eye(3, dtype=np.intp)[[(axis + 1) % 3, (axis + 2) % 3]]
        for leaving in (True, False):
            voxels = np.argwhere(np.moveaxis(step, 0, axis) == (-1 if leaving else 1))
            ring = [voxels - first - second, voxels - second, voxels, voxels - first]
            quad = np.stack([rows[tuple(cell.T)] for cell in ring], axis=1)
            quad = quad if leaving else quad[:, ::-1]
            triangles += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return np.concatenate(triangles)


def _stl(surfaces: list[_Surface]) -> bytes:
    """A binary STL file."""
    corners = [surface.points[surface.triangles] for surface in surfaces]
    triangles = np.concatenate(corners) if corners else np.zeros((0, 3, 3))
    stored: npt.NDArray[Any] = np.zeros(len(triangles), _TRIANGLE)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    stored["normal"] = normals / np.where(length > 0, length, 1.0)
    stored["corners"] = triangles
    header = b"medseg SPACE=LPS UNIT=mm".ljust(80)
    return header + len(triangles).to_bytes(4, "little") + stored.tobytes()


def _ply(surfaces: list[_Surface]) -> bytes:
    """A binary PLY file."""
    points = np.zeros(sum(len(surface.points) for surface in surfaces), _POINT)
    faces = np.zeros(sum(len(surface.triangles) for surface in surfaces), _FACE)
    faces["count"] = 3
    point = face = 0
    for part in surfaces:
        points["position"][point : point + len(part.points)] = part.points
        points["color"][point : point + len(part.points)] = part.label.color
        faces["points"][face : face + len(part.triangles)] = part.triangles + point
        point, face = point + len(part.points), face + len(part.triangles)
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment SPACE=LPS",
        "comment UNIT=mm",
        f"element vertex {point}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {color}" for color in ("red", "green", "blue")),
        f"element face {face}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    return (
        "".join(f"{line}\n" for line in lines).encode("ascii") + points.tobytes() + faces.tobytes()
    )


def _obj(surfaces: list[_Surface]) -> bytes:
    """A Wavefront OBJ file; its points count from 1, through all objects."""
    lines, first = ["# medseg SPACE=LPS UNIT=mm"], 1
    for surface in surfaces:
        lines.append("o " + "_".join(surface.label.name.split()))
        lines += [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in surface.points.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (surface.triangles + first).tolist()]
        first += len(surface.points)
    return "".join(f"{line}\n" for line in lines).encode("utf-8")
