"""Volumes as CSV and JSON."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from medseg.volume import Code, Grid, Label, LabelMap, LabelTable
from medseg.writing import write_labels

AFFINE = np.array([[-0.5, 0, 0, 1], [0, 2, 1, 2], [0, 0, 3, 3], [0, 0, 0, 1.0]])
TABLE = LabelTable(
    (
        Label(
            value=2, name='liver, "left"', color=(1, 2, 3), code=Code("10200004", "SCT", "Liver")
        ),
        Label(value=300, name="größte Läsion", color=(1, 2, 3)),
        Label(value=400, name="nothing", color=(1, 2, 3)),
    )
)


@pytest.fixture
def labels():
    values = np.zeros((4, 5, 6), np.uint16)
    values[:2, :3, :4] = 2
    values[3, 3, 3] = 300
    return LabelMap(values, Grid((4, 5, 6), AFFINE), TABLE)


def check(rows):
    assert [row["label"] for row in rows] == ['liver, "left"', "größte Läsion", "nothing"]
    assert [int(row["value"]) for row in rows] == [2, 300, 400]
    assert [int(row["voxels"]) for row in rows] == [24, 1, 0]
    # a sheared voxel of 0.5 x 2 x 3 mm
    assert [float(row["volume_ml"]) for row in rows] == pytest.approx([0.072, 0.003, 0])
    assert [row["code"] for row in rows] == ["10200004", "", ""]


def test_csv(tmp_path, labels):
    path = write_labels(labels, tmp_path / "a.csv")
    with path.open(encoding="utf-8", newline="") as file:
        check(list(csv.DictReader(file)))


def test_json(tmp_path, labels):
    path = write_labels(labels, tmp_path / "a.json")
    check(json.loads(path.read_text("utf-8"))["labels"])
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]
