"""Labels of pictures as PNG and TIFF."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from medseg.errors import WriteError
from medseg.reading import read_labels, read_scan
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.writing import write_labels

TABLE = LabelTable.of({1: "lung", 7: "heart"})


def picture_labels(folder, pages=1, largest=7):
    """Labels of a picture of 5 columns and 4 rows."""
    shape = (pages, 4, 5) if pages > 1 else (4, 5)
    source = folder / "film.tif"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros(shape, np.uint8)), str(source))
    scan = read_scan(source)
    values = np.zeros(scan.grid.shape, np.uint16)
    values[1:3, 0], values[4, 3] = 1, largest
    table = LabelTable.of({1: "lung", largest: "heart"})
    return LabelMap(values, scan.grid, table, scan.provenance)


@pytest.mark.parametrize("ending", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("largest", [7, 300])
def test_grey_values_are_labels(tmp_path, ending, largest):
    labels = picture_labels(tmp_path, largest=largest)
    path = write_labels(labels, tmp_path / f"mask{ending}")
    rows = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert rows.shape == (4, 5)
    assert (rows[0, 1], rows[3, 4], rows[1, 0]) == (1, largest, 0)
    assert np.array_equal(read_labels(path, table=labels.table).values, labels.values)


def test_pages(tmp_path):
    labels = picture_labels(tmp_path, pages=3)
    path = write_labels(labels, tmp_path / "mask.tif")
    assert np.array_equal(read_labels(path, table=TABLE).values, labels.values)
    with pytest.raises(WriteError, match="has 3") as caught:
        write_labels(labels, tmp_path / "mask.png")
    assert caught.value.code == "PAGES"


def test_a_volume_has_a_place_and_is_no_picture(tmp_path):
    labels = LabelMap(np.zeros((3, 4, 1), np.uint8), Grid((3, 4, 1), np.eye(4)), TABLE)
    with pytest.raises(WriteError, match="without a place") as caught:
        write_labels(labels, tmp_path / "mask.png")
    assert caught.value.code == "NO_PICTURE"
    assert not list(tmp_path.glob("*.png"))
