"""Surfaces: closed, outwards, of the right volume, at the right place in LPS+ mm."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.volume import Grid, Label, LabelMap, LabelTable
from medseg.writing import write_labels
from strategies import grids

TABLE = LabelTable(
    (
        Label(value=1, name="ball", color=(10, 20, 30)),
        Label(value=300, name="dot", color=(40, 50, 60)),
    )
)
AFFINE = np.array([[-0.8, 0.1, 0, 40], [0.1, 0.9, 0.2, -20], [0, 0, 1.5, 7], [0, 0, 0, 1]])


def triangles_of(path):
    """Corners (N, 3, 3) of a binary STL file, by its specification."""
    content = path.read_bytes()
    count = int.from_bytes(content[80:84], "little")
    assert len(content) == 84 + 50 * count
    assert b"SPACE=LPS" in content[:80]
    kind = np.dtype([("floats", "<f4", 12), ("attribute", "<u2")])
    return np.frombuffer(content, kind, offset=84)["floats"][:, 3:].reshape(-1, 3, 3).astype(float)


def volume(triangles):
    """Signed volume by the divergence theorem; positive when triangles face outwards."""
    centred = triangles - triangles.reshape(-1, 3).mean(0)
    return np.linalg.det(centred).sum() / 6


def is_closed(triangles):
    """Whether every edge is passed as often in one direction as in the other."""
    _, rows = np.unique(np.round(triangles.reshape(-1, 3), 4), axis=0, return_inverse=True)
    edges = Counter()
    for a, b, c in rows.reshape(-1, 3).tolist():
        edges.update([(a, b), (b, c), (c, a)])
    return all(edges[b, a] == times for (a, b), times in edges.items())


def ball(affine=AFFINE, shape=(40, 38, 30), radius_mm=11.0):
    grid = Grid(shape, affine)
    centre = grid.to_world((np.array(shape) - 1) / 2)
    index = np.moveaxis(np.indices(shape), 0, -1)
    inside = np.linalg.norm(grid.to_world(index) - centre, axis=-1) <= radius_mm
    return LabelMap(inside.astype(np.uint16), grid, TABLE), centre


@pytest.mark.parametrize("mirror", [1, -1])
def test_a_ball_is_a_ball(tmp_path, mirror):
    labels, centre = ball(AFFINE @ np.diag([mirror, 1, 1, 1]))
    triangles = triangles_of(write_labels(labels, tmp_path / "a.stl"))
    assert is_closed(triangles)
    assert volume(triangles) == pytest.approx(4 / 3 * np.pi * 11**3, rel=0.02)
    distance = np.linalg.norm(triangles * [-1, -1, 1] - centre, axis=-1)
    assert np.abs(distance - 11).max() < 1.0
    assert abs(distance.mean() - 11) < 0.1


@settings(max_examples=20, deadline=None)
@given(grid=grids(largest=6), seed=st.integers(0, 99))
def test_any_shape_is_closed_and_faces_outwards(tmp_path_factory, grid, seed):
    values = np.random.default_rng(seed).choice([0, 1], grid.shape).astype(np.uint8)
    values[0, 0, 0] = 1
    labels = LabelMap(values, grid, TABLE)
    path = write_labels(labels, tmp_path_factory.mktemp("mesh") / "a.stl")
    triangles = triangles_of(path)
    assert volume(triangles) > 0
    assert is_closed(triangles)
    corner = grid.to_index(triangles.reshape(-1, 3) * [-1, -1, 1])
    assert corner.min() >= -0.5 - 1e-3
    assert (corner.max(0) <= np.array(grid.shape) - 0.5 + 1e-3).all()


def test_ply_has_places_and_colours(tmp_path):
    labels, _ = ball()
    values = labels.values.copy()
    values[1, 2, 3] = 300
    both = LabelMap(values, labels.grid, TABLE)
    content = write_labels(both, tmp_path / "a.ply").read_bytes()
    head, _, body = content.partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "comment SPACE=LPS" in lines
    counts = [int(line.split()[2]) for line in lines if line.startswith("element")]
    assert len(body) == 15 * counts[0] + 13 * counts[1]
    kind = np.dtype([("place", "<f4", 3), ("color", "u1", 3)])
    points = np.frombuffer(body, kind, count=counts[0])
    dot = points[(points["color"] == (40, 50, 60)).all(1)]
    assert len(dot) == 8
    place = labels.grid.to_world((1, 2, 3)) * [-1, -1, 1]
    assert np.allclose(dot["place"].mean(0), place, atol=1e-3)
    faces = np.frombuffer(body, np.dtype([("n", "u1"), ("p", "<i4", 3)]), offset=15 * counts[0])
    assert set(faces["n"]) == {3}
    assert faces["p"].max() == counts[0] - 1


def test_no_structure_no_triangle(tmp_path):
    labels = LabelMap(np.zeros((3, 3, 3), np.uint8), Grid((3, 3, 3), np.eye(4)), TABLE)
    assert len(triangles_of(write_labels(labels, tmp_path / "a.stl"))) == 0
    assert b"element face 0" in write_labels(labels, tmp_path / "a.ply").read_bytes()


def test_obj_is_the_surface_of_stl_with_names(tmp_path):
    labels, _ = ball()
    values = labels.values.copy()
    values[1, 2, 3] = 300
    both = LabelMap(values, labels.grid, TABLE)
    rows = [
        line.split() for line in write_labels(both, tmp_path / "a.obj").read_text().splitlines()
    ]
    assert rows[0] == ["#", "medseg", "SPACE=LPS", "UNIT=mm"]
    assert [row[1] for row in rows if row[0] == "o"] == ["ball", "dot"]
    points = np.array([row[1:] for row in rows if row[0] == "v"], float)
    faces = np.array([row[1:] for row in rows if row[0] == "f"], int) - 1
    stl = triangles_of(write_labels(both, tmp_path / "a.stl"))
    assert np.allclose(points[faces], stl, atol=1e-3)
