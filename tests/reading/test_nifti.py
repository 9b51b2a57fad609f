"""NIfTI keeps its affine bit for bit, its integers, and never gives back part of a file."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings

from medseg.errors import GeometryError, LabelError, ReadError
from medseg.reading import read_labels, read_scan
from medseg.volume import LabelTable
from strategies import grids

AFFINE = np.array([[-0.7, 0.1, 0.2, 10], [0.1, 1.1, 0.0, -20], [0.0, 0.3, 2.5, 5], [0, 0, 0, 1]])


def values(*shape, dtype=np.int16):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def stored(path, array, affine=AFFINE, *, kind=nib.Nifti1Image, slope=None, codes=(1, 0)):
    image = kind(array, affine)
    image.set_sform(affine, codes[0])
    image.header.set_qform(np.diag([2, 3, 4, 1]), codes[1])
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nib.save(image, path)
    return nib.load(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.int32, np.uint16])
def test_integers_and_affine_are_kept(tmp_path, kind, ending, dtype):
    array = values(3, 4, 5, dtype=dtype)
    reference = stored(tmp_path / f"a{ending}", array, kind=kind)
    scan = read_scan(tmp_path / f"a{ending}")
    assert np.array_equal(scan.grid.affine, reference.affine)
    assert np.array_equal(scan.voxels[0], array)
    assert scan.voxels.dtype == np.dtype(dtype).newbyteorder("=")
    assert scan.provenance.format == "nifti"


@settings(max_examples=20, deadline=None)
@given(grids())
def test_any_sform_is_kept_bit_for_bit(tmp_path_factory, grid):
    path = tmp_path_factory.mktemp("sform") / "a.nii"
    reference = stored(path, values(*grid.shape), grid.affine)
    assert np.array_equal(read_scan(path).grid.affine, reference.affine)


def plain(path, array, affine=AFFINE, *, code=1, slope=1.0, intercept=0.0):
    """A .nii file written byte by byte, with a header that nibabel would correct."""
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = slope, intercept, 352
    header.set_sform(affine, code)
    path.write_bytes(header.binaryblock + bytes(4) + array.tobytes(order="F"))


def test_scaling_gives_float32(tmp_path):
    array = values(3, 4, 5)
    plain(tmp_path / "a.nii", array, slope=0.25, intercept=-10)
    scan = read_scan(tmp_path / "a.nii")
    assert scan.voxels.dtype == np.float32
    np.testing.assert_allclose(scan.voxels[0], array * 0.25 - 10)


def test_floats_become_float32(tmp_path):
    stored(tmp_path / "a.nii", values(3, 4, 5).astype(np.float64) / 7)
    assert read_scan(tmp_path / "a.nii").voxels.dtype == np.float32


def test_fourth_axis_becomes_channels(tmp_path):
    array = values(3, 4, 5, 2)
    stored(tmp_path / "a.nii.gz", array)
    scan = read_scan(tmp_path / "a.nii.gz")
    assert scan.voxels.shape == (2, 3, 4, 5)
    assert np.array_equal(scan.voxels[1], array[..., 1])
    assert "channels" in scan.provenance.notes[0]


def test_two_axes_are_one_slice(tmp_path):
    stored(tmp_path / "a.nii", values(3, 4))
    assert read_scan(tmp_path / "a.nii").voxels.shape == (1, 3, 4, 1)


def test_vectors_in_the_fifth_axis(tmp_path):
    array = values(3, 4, 5, 1, 2)
    stored(tmp_path / "a.nii", array)
    assert np.array_equal(read_scan(tmp_path / "a.nii").voxels[1], array[..., 0, 1])


def test_five_axes_are_refused(tmp_path):
    stored(tmp_path / "a.nii", values(3, 4, 5, 2, 2))
    with pytest.raises(ReadError, match=r"a\.nii.*5 axes"):
        read_scan(tmp_path / "a.nii")


def test_colour_records_become_channels(tmp_path):
    array = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    array["G"] = values(3, 4, 5, dtype=np.uint8)
    stored(tmp_path / "a.nii", array)
    scan = read_scan(tmp_path / "a.nii")
    assert scan.voxels.shape == (3, 3, 4, 5)
    assert np.array_equal(scan.voxels[1], array["G"])


def test_disagreeing_forms_are_noted_and_the_sform_wins(tmp_path):
    reference = stored(tmp_path / "a.nii", values(3, 4, 5), codes=(1, 1))
    scan = read_scan(tmp_path / "a.nii")
    assert np.array_equal(scan.grid.affine, reference.get_sform())
    assert any("sform and qform" in note for note in scan.provenance.notes)
    assert scan.provenance.laterality_known


def test_no_forms_are_noted(tmp_path):
    plain(tmp_path / "a.nii", values(3, 4, 5), code=0)
    source = read_scan(tmp_path / "a.nii").provenance
    assert any("neither" in note for note in source.notes)
    assert not source.laterality_known
    assert source.has_physical_size


def test_singular_affine_names_the_file(tmp_path):
    plain(tmp_path / "a.nii", values(3, 4, 5), np.diag([1.0, 0, 1, 1]))
    with pytest.raises(GeometryError, match=r"a\.nii.*singular"):
        read_scan(tmp_path / "a.nii")


def test_gzip_under_a_plain_name(tmp_path):
    stored(tmp_path / "a.nii", values(3, 4, 5))
    (tmp_path / "b.nii").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    assert np.array_equal(read_scan(tmp_path / "b.nii").voxels[0], values(3, 4, 5))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_truncation_never_gives_voxels(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    stored(path, values(13, 14, 15))
    whole = path.read_bytes()
    for part in [*range(0, 100, 7), 99.9]:
        path.write_bytes(whole[: int(len(whole) * part / 100)])
        with pytest.raises(ReadError, match=path.name):
            read_scan(path)


def test_flipped_bits_in_gzip_are_caught(tmp_path):
    path = tmp_path / "a.nii.gz"
    stored(path, values(13, 14, 15))
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, len(content) - 9, 97):
        content[at] ^= 0x10
        path.write_bytes(content)
        with pytest.raises(ReadError):
            read_scan(path)
        content[at] ^= 0x10


def test_a_flipped_bit_that_only_the_checksum_sees(tmp_path):
    stored(tmp_path / "a.nii", values(13, 14, 15))
    content = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes(), compresslevel=0))
    content[-100] ^= 1
    (tmp_path / "b.nii.gz").write_bytes(content)
    with pytest.raises(ReadError, match=r"b\.nii\.gz"):
        read_scan(tmp_path / "b.nii.gz")


def test_labels_without_names(tmp_path):
    array = np.array([0, 3, 7, 0], np.float64).reshape(2, 2, 1)
    stored(tmp_path / "a.nii", array)
    labels = read_labels(tmp_path / "a.nii")
    assert labels.table.names == ("label 3", "label 7")
    assert labels.values.dtype == np.uint8
    assert np.array_equal(labels.values, array)


def test_fractions_are_no_labels(tmp_path):
    stored(tmp_path / "a.nii", np.full((2, 2, 2), 0.5))
    with pytest.raises(LabelError, match=r"a\.nii.*whole numbers"):
        read_labels(tmp_path / "a.nii")


def test_value_that_the_table_does_not_know(tmp_path):
    stored(tmp_path / "a.nii", np.full((2, 2, 2), 9, np.uint8))
    with pytest.raises(LabelError, match=r"a\.nii.*\[9\]") as caught:
        read_labels(tmp_path / "a.nii", table=LabelTable.of({1: "liver"}))
    assert caught.value.code == "UNKNOWN_LABEL"


def test_an_intensity_image_is_no_label_map(tmp_path):
    stored(tmp_path / "a.nii", np.arange(2000, dtype=np.int16).reshape(10, 20, 10))
    with pytest.raises(LabelError, match="intensity image"):
        read_labels(tmp_path / "a.nii")


def test_real_organ_labels_lie_on_their_scan(shared_data):
    folder = shared_data / "ct_mr_organs"
    scan, labels = (
        read_scan(folder / "example_ct_sm.nii.gz"),
        read_labels(folder / "example_seg.nii.gz"),
    )
    reference = nib.load(folder / "example_seg.nii.gz")
    assert scan.grid.same_as(labels.grid)
    assert np.array_equal(labels.grid.affine, reference.affine)
    assert np.array_equal(labels.values, np.asarray(reference.dataobj))
    assert len(labels.table) == 41
