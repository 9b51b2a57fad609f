import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.phantoms import ABDOMEN_LABELS, abdominal_ct, default_grid
from medseg.phantoms.dicom_archive import ct_grid
from medseg.phantoms.shapes import voxel_centres
from medseg.volume import Grid

COARSE = ct_grid(shape=(48, 36, 24), spacing_mm=(8.0, 7.5, 10.0))


def centroid_mm(truth, name):
    value = next(label.value for label in ABDOMEN_LABELS if label.name == name)
    return truth.grid.to_world(np.argwhere(truth.values == value).mean(axis=0))


@pytest.mark.parametrize("seed", range(6))
def test_organs_are_on_their_sides(seed):
    _, truth = abdominal_ct(seed, COARSE)
    x = {name: centroid_mm(truth, name)[0] for name in ABDOMEN_LABELS.names}
    assert x["liver"] > 20
    assert x["right_kidney"] > 20
    assert x["spleen"] < -20
    assert x["stomach"] < -20
    assert x["left_kidney"] < -20
    assert abs(x["aorta"]) < 25


@pytest.mark.parametrize("seed", range(3))
def test_the_stomach_lies_in_front_of_the_kidneys_and_the_spine_behind(seed):
    scan, truth = abdominal_ct(seed, COARSE)
    assert centroid_mm(truth, "stomach")[1] > centroid_mm(truth, "left_kidney")[1] + 30
    x, y, _ = voxel_centres(scan.grid)
    midline = np.abs(x) < 12
    bone = scan.voxels[0] > 180
    aorta = truth.values == 6
    assert y[bone & midline & ~aorta].mean() < -50


@pytest.fixture(scope="module")
def fine():
    return abdominal_ct(3, ct_grid(shape=(80, 56, 54), spacing_mm=(4.5, 4.5, 4.5)))[1]


@settings(max_examples=8, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-40, 40)] * 3),
    spacing=st.tuples(*[st.floats(6.0, 14.0)] * 3),
)
def test_every_grid_shows_the_same_patient(fine, turn, spacing):
    grid = ct_grid(shape=(32, 28, 24), spacing_mm=spacing, turn_degrees=turn)
    _, truth = abdominal_ct(3, grid)
    places = fine.grid.to_index(grid.to_world(np.indices(grid.shape).reshape(3, -1).T))
    nearest = np.rint(places).astype(int)
    fits = ((nearest >= 0) & (nearest < fine.grid.shape)).all(axis=1)
    expected = fine.values[tuple(nearest[fits].T)]
    found = truth.values.reshape(-1)[fits]
    either = (expected > 0) | (found > 0)
    assert (expected == found)[either].mean() > 0.75  # nearest voxel: surfaces differ, bodies not
    assert (expected == found).mean() > 0.96


def test_the_same_seed_gives_the_same_scan_and_another_another():
    one, again, other = (abdominal_ct(seed, COARSE)[0].voxels for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_intensities_are_those_of_ct():
    scan, truth = abdominal_ct(0, default_grid(), noise_hu=0.0)
    assert scan.voxels.dtype == np.int16
    assert scan.modality == "CT"
    means = {
        label.name: scan.voxels[0][truth.values == label.value].mean() for label in truth.table
    }
    assert 80 < means["liver"] < 140
    assert 180 < means["aorta"] < 290
    assert scan.voxels.min() < -900
    assert set(np.unique(truth.values)) == {0, *ABDOMEN_LABELS.values}


def test_voxel_centres_are_those_of_the_grid():
    affine = np.array([[1.0, 0.2, 0, 3], [-0.1, 2, 0.3, -4], [0, 0.1, 3, 5], [0, 0, 0, 1]])
    grid = Grid((3, 4, 5), affine)
    centres = np.stack(voxel_centres(grid), axis=-1)
    assert np.allclose(centres[2, 1, 4], grid.to_world([2, 1, 4]), atol=1e-4)


def test_labels_carry_snomed_codes():
    codes = {label.name: label.code.value for label in ABDOMEN_LABELS}
    assert codes["liver"] == "10200004"
    assert codes["left_kidney"] == "18639004"
    assert all(label.code.scheme == "SCT" for label in ABDOMEN_LABELS)
