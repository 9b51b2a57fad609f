import csv

import numpy as np
import pytest
from scipy.special import ellipe

from medseg.errors import GeometryError
from medseg.metrics import circumferences_mm
from medseg.reading import read_labels
from medseg.volume import Grid, LabelMap, LabelTable

TABLE = LabelTable.of({1: "head", 2: "other"})


def drawn(a_mm, b_mm, degrees, *, spacing=(0.5, 0.25), axes=(0, 1)):
    """An ellipse with these half axes, turned, on a slice across the axis that is left."""
    shape, affine = [1, 1, 1], np.diag([3.0, 3.0, 3.0, 1.0])
    for axis, mm in zip(axes, spacing, strict=True):
        shape[axis], affine[axis, axis] = int(120 / mm), mm
    grid = Grid(tuple(shape), affine)
    turn = np.deg2rad(degrees)
    x, y = (np.arange(shape[axis]) * mm - 60.3 for axis, mm in zip(axes, spacing, strict=True))
    u = x[:, None] * np.cos(turn) + y * np.sin(turn)
    v = y * np.cos(turn) - x[:, None] * np.sin(turn)
    inside = (u / a_mm) ** 2 + (v / b_mm) ** 2 <= 1
    return LabelMap(inside.astype(np.uint8).reshape(shape), grid, TABLE)


@pytest.mark.parametrize(("a", "b", "degrees"), [(40, 40, 0), (50, 35, 30), (45, 12, 100)])
@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_an_ellipse_has_the_circumference_of_the_elliptic_integral(a, b, degrees, axes):
    exact = 4 * a * ellipe(1 - (b / a) ** 2)
    assert circumferences_mm(drawn(a, b, degrees, axes=axes))["head"] == pytest.approx(exact, 2e-3)


def test_a_missing_label_has_none():
    assert circumferences_mm(drawn(40, 30, 0))["other"] == 0.0


def test_a_single_pixel_is_an_ellipse_with_its_moments():
    values = np.zeros((3, 3, 1), np.uint8)
    values[1, 1] = 1
    labels = LabelMap(values, Grid(values.shape, np.eye(4)), TABLE)
    assert circumferences_mm(labels)["head"] == pytest.approx(2 * np.pi / np.sqrt(3))


def test_a_volume_is_refused():
    labels = LabelMap(np.ones((4, 5, 6), np.uint8), Grid((4, 5, 6), np.eye(4)), TABLE)
    with pytest.raises(GeometryError, match="4 x 5 x 6 voxels; take one slice"):
        circumferences_mm(labels)


def test_hand_drawn_heads_have_the_stated_circumference(shared_data):
    folder = shared_data / "fetal_head_us"
    if not folder.is_dir():
        pytest.skip("no fetal_head_us in the shared data")
    errors = []
    for row in list(csv.DictReader((folder / "cases.csv").read_text().splitlines()))[::60]:
        labels = read_labels(folder / "labels" / f"{row['id']}.png", table=LabelTable.of({1: "h"}))
        head = circumferences_mm(labels)["h"] * float(row["pixel_mm"])
        errors.append(abs(head - float(row["head_circumference_mm"])))
    assert np.mean(errors) < 2.5
