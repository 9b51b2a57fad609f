"""NRRD, MetaImage and GIPL: places and values as ITK has them, and nothing from a cut file."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import SimpleITK

from medseg.errors import InputError, ReadError
from medseg.reading import read_labels, read_scan

DIRECTION = (0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def image(shape=(6, 5, 4), *, vector=False, dtype=np.int16):
    """An image with (x, y, z) counts 4, 5, 6 and different spacing along each."""
    array = np.random.default_rng(0).integers(0, 50, shape).astype(dtype)
    made = SimpleITK.GetImageFromArray(array, isVector=vector)
    made.SetSpacing((0.5, 0.8, 3.0))
    made.SetOrigin((10.0, -20.0, 30.0))
    made.SetDirection(DIRECTION)
    return made


def assert_same_place_and_value(scan, made):
    for index in [(0, 0, 0), (3, 0, 0), (0, 4, 0), (0, 0, 5), (3, 4, 5), (1, 2, 3)]:
        world = made.TransformContinuousIndexToPhysicalPoint([float(n) for n in index])
        np.testing.assert_allclose(scan.grid.to_world(index), np.multiply(world, [-1, -1, 1]))
        value = np.atleast_1d(made.GetPixel(*index))
        assert np.array_equal(scan.voxels[(slice(None), *index)], value)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_places_and_values(tmp_path, ending):
    SimpleITK.WriteImage(image(), str(tmp_path / f"a{ending}"))
    assert_same_place_and_value(read_scan(tmp_path / f"a{ending}"), image())


def test_vector_components_become_channels(tmp_path):
    made = image((6, 5, 4, 3), vector=True)
    SimpleITK.WriteImage(made, str(tmp_path / "a.nrrd"))
    scan = read_scan(tmp_path / "a.nrrd")
    assert scan.channels == 3
    assert_same_place_and_value(scan, made)


def test_fourth_axis_becomes_channels(tmp_path):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    made = SimpleITK.GetImageFromArray(array, isVector=False)
    SimpleITK.WriteImage(made, str(tmp_path / "a.nrrd"))
    scan = read_scan(tmp_path / "a.nrrd")
    assert scan.voxels.shape == (2, 5, 4, 3)
    assert scan.voxels[1, 4, 3, 2] == array[1, 2, 3, 4]


def test_two_axes_are_one_slice(tmp_path):
    made = SimpleITK.GetImageFromArray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    made.SetSpacing((0.5, 0.8))
    SimpleITK.WriteImage(made, str(tmp_path / "a.mha"))
    scan = read_scan(tmp_path / "a.mha")
    assert scan.voxels.shape == (1, 4, 3, 1)
    assert scan.grid.spacing_mm == (0.5, 0.8, 1.0)
    assert scan.voxels[0, 2, 1, 0] == 6


def test_gzipped_meta_image(tmp_path):
    SimpleITK.WriteImage(image(), str(tmp_path / "a.mha"))
    (tmp_path / "b.mha.gz").write_bytes(gzip.compress((tmp_path / "a.mha").read_bytes()))
    assert_same_place_and_value(read_scan(tmp_path / "b.mha.gz"), image())


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".gipl", ".gipl.gz"])
def test_truncation_never_gives_voxels(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    plain = SimpleITK.GetImageFromArray(SimpleITK.GetArrayFromImage(image((16, 15, 14))))
    SimpleITK.WriteImage(plain, str(path))
    whole = path.read_bytes()
    for part in [*range(0, 100, 12), 99.9]:
        path.write_bytes(whole[: int(len(whole) * part / 100)])
        with pytest.raises(ReadError, match="truncated"):
            read_scan(path)


def test_slicer_names_are_read(tmp_path):
    made = image(dtype=np.uint8) // 25
    names = {"Segment0_Name": "liver", "Segment0_LabelValue": "1", "Segment0_Color": "1 0.5 0"}
    for key, text in names.items():
        made.SetMetaData(key, text)
    SimpleITK.WriteImage(made, str(tmp_path / "a.seg.nrrd"))
    (label,) = read_labels(tmp_path / "a.seg.nrrd").table
    assert (label.value, label.name, label.color) == (1, "liver", (255, 128, 0))


def test_real_labels_with_gaps(shared_data):
    folder = shared_data / "mr_pyradiomics"
    labels = read_labels(folder / "prostate_phantom_subvolume-label.nrrd")
    assert labels.table.values == (1, 7, 8, 9)
    assert labels.grid.same_as(read_scan(folder / "prostate_phantom_subvolume.nrrd").grid)


def test_real_gipl_and_values_that_are_not_numbers(shared_data):
    folder = shared_data / "brain_mr_itksnap"
    scan = read_scan(folder / "MRIcrop-orig.gipl.gz")
    assert scan.grid.shape == (78, 110, 64)
    assert any("orientation" in note for note in scan.provenance.notes)
    assert not scan.provenance.laterality_known
    with pytest.raises(InputError) as caught:
        read_scan(folder / "nan.mha.gz").check_finite()
    assert caught.value.code == "NOT_FINITE"


@pytest.mark.parametrize(("stored", "modality"), [("MET_MOD_CT", "CT"), ("MET_MOD_UNKNOWN", "")])
def test_the_modality_of_a_metaimage_is_dicoms_word(tmp_path, stored, modality):
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((2, 3, 4), np.float32)), str(path))
    head = b"NDims = 3\n"
    path.write_bytes(path.read_bytes().replace(head, head + f"Modality = {stored}\n".encode()))
    assert read_scan(path).modality == modality
