import numpy as np
import pytest

from medseg.errors import GeometryError, InputError, LabelError
from medseg.volume import Grid, Label, LabelMap, LabelTable, Scan
from medseg.volume.label_map import as_label_values
from medseg.volume.label_table import default_color

GRID = Grid((2, 3, 4), np.eye(4))
TABLE = LabelTable.of({2: "liver", 7: "spleen"})


def test_a_value_outside_the_table_is_named():
    values = np.zeros(GRID.shape, np.uint8)
    values[0, 0, 0] = 9
    with pytest.raises(LabelError, match=r"\[9\].*2=liver, 7=spleen"):
        LabelMap(values, GRID, TABLE)


def test_labels_must_fit_their_grid():
    with pytest.raises(GeometryError, match=r"\(2, 3, 5\)"):
        LabelMap(np.zeros((2, 3, 5), np.uint8), GRID, TABLE)


@pytest.mark.parametrize("bad", [[0.5], [-1.0], [np.nan], [70000.0]])
def test_only_whole_numbers_become_labels(bad):
    with pytest.raises(LabelError):
        as_label_values(np.array(bad))


def test_whole_floats_and_large_values_are_kept():
    assert as_label_values(np.array([0.0, 7.0])).dtype == np.uint8
    assert as_label_values(np.array([0, 300])).tolist() == [0, 300]


@pytest.mark.parametrize("rows", [{0: "background"}, {70000: "far"}])
def test_values_out_of_range_are_refused(rows):
    with pytest.raises(LabelError, match=r"1\.\.65535"):
        LabelTable.of(rows)


def test_names_are_unique():
    one = Label(value=1, name="a", color=(0, 0, 0))
    two = Label(value=2, name="a", color=(0, 0, 0))
    with pytest.raises(LabelError, match="unique"):
        LabelTable((one, two))


def test_default_colours_differ():
    assert len({default_color(row) for row in range(120)}) == 120


def test_a_scan_fits_its_grid_and_is_finite():
    with pytest.raises(GeometryError, match="do not fit"):
        Scan(np.zeros((1, 2, 3, 3)), GRID)
    voxels = np.zeros((1, *GRID.shape), np.float32)
    voxels[0, 1, 2, 3] = np.inf
    with pytest.raises(InputError, match=r"\(0, 1, 2, 3\)"):
        Scan(voxels, GRID).check_finite()
