"""NIfTI, NRRD and MetaImage with lying, odd or hostile headers: right, or refused at once."""

from __future__ import annotations

import gzip
import resource

import nibabel as nib
import numpy as np
import pytest

from medseg.discovery.inspection import inspect
from medseg.errors import MedsegError, ReadError
from medseg.reading import read_labels, read_scan

AFFINE = np.array([[-0.7, 0.1, 0.2, 10], [0.1, 1.1, 0.0, -20], [0.0, 0.3, 2.5, 5], [0, 0, 0, 1]])


def header(shape=(3, 4, 5), dtype=np.int16, *, endian="<", sform=1, qform=0):
    made = nib.Nifti1Header(endianness=endian)
    made.set_data_shape(shape)
    made.set_data_dtype(np.dtype(dtype).newbyteorder(endian))
    made.set_sform(AFFINE, sform)
    made["qform_code"] = qform
    made["vox_offset"], made["magic"] = 352, b"n+1"
    return made


def write(path, made, array):
    content = made.binaryblock + bytes(4) + array.astype(made.get_data_dtype()).tobytes("F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def numbers(shape=(3, 4, 5)):
    return np.random.default_rng(0).integers(-99, 99, shape)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int32])
def test_big_endian(tmp_path, name, dtype):
    array = numbers()
    scan = read_scan(write(tmp_path / name, header(dtype=dtype, endian=">"), array))
    assert np.array_equal(scan.voxels[0], array)
    assert scan.voxels.dtype.isnative
    np.testing.assert_allclose(scan.grid.affine, AFFINE, rtol=1e-6)


def test_big_endian_labels(tmp_path):
    array = abs(numbers())
    labels = read_labels(write(tmp_path / "a.nii", header(endian=">"), array))
    assert np.array_equal(labels.values, array)


@pytest.mark.parametrize("qfac", [0, 1, -1])
def test_quaternions_make_the_affine_when_there_is_no_sform(tmp_path, qfac):
    made = header(sform=0, qform=1)
    made["quatern_b"], made["quatern_c"], made["quatern_d"] = 0.1, 0.2, 0.3
    made["pixdim"][:4] = (qfac, 0.5, 0.6, 3.0)
    made["qoffset_x"], made["qoffset_y"], made["qoffset_z"] = 1, 2, 3
    scan = read_scan(write(tmp_path / "a.nii", made, numbers()))
    b, c, d = 0.1, 0.2, 0.3
    a = np.sqrt(1 - b * b - c * c - d * d)
    turn = np.array(
        [  # the NIfTI-1 standard, METHOD 2
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    truth = turn * [0.5, 0.6, -3.0 if qfac == -1 else 3.0]
    np.testing.assert_allclose(scan.grid.affine[:3, :3], truth, atol=1e-6)
    np.testing.assert_allclose(scan.grid.affine[:3, 3], [1, 2, 3])


@pytest.mark.parametrize("sform", [0, 1])
def test_quaternions_that_are_no_rotation(tmp_path, sform):
    made = header(sform=sform, qform=1)
    made["quatern_b"] = made["quatern_c"] = made["quatern_d"] = 0.9
    path = write(tmp_path / "a.nii", made, numbers())
    if not sform:
        with pytest.raises(ReadError, match=r"a\.nii"):
            read_scan(path)
        return
    scan = read_scan(path)
    np.testing.assert_allclose(scan.grid.affine, AFFINE, rtol=1e-6)
    assert any("qform" in note for note in scan.provenance.notes)


def test_lying_dimensions(tmp_path):
    made = header((32767, 32767, 32767))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("a.nii", "a.nii.gz"):
        with pytest.raises(ReadError):
            read_scan(write(tmp_path / name, made, numbers()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_gzip_bomb(tmp_path):
    made = header((1024, 1024, 512))
    with gzip.open(tmp_path / "a.nii.gz", "wb", 6) as file:
        file.write(made.binaryblock + bytes(4))
        for _ in range(64):
            file.write(bytes(1 << 20))  # of a GiB that the header promises
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path / "a.nii.gz")
    assert caught.value.code == "TOO_LARGE"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mha", "NDims = 3\nDimSize = 9999 9999 9999\nElementType = MET_SHORT\n"),
        ("a.nrrd", "NRRD0004\ntype: short\ndimension: 3\nsizes: 9999 9999 9999\nencoding: raw\n\n"),
    ],
)
def test_lying_sizes_of_itk_formats(tmp_path, name, text):
    last = b"ElementDataFile = LOCAL\n" if name == "a.mha" else b""
    (tmp_path / name).write_bytes(text.encode() + last + bytes(100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReadError):
        read_scan(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_nan_is_reported(shared_data):
    (report,) = inspect(shared_data / "brain_mr_itksnap/nan.mha.gz")
    assert report.verdict.code == "NOT_FINITE"
    assert "replace" in report.verdict.why


@pytest.mark.parametrize("key", ["srow_x", "pixdim", "scl_slope"])
def test_infinite_header_numbers(tmp_path, key):
    made = header(sform=key != "pixdim", qform=int(key == "pixdim"))
    made[key] = np.inf
    path = write(tmp_path / "a.nii", made, numbers())
    try:
        read_scan(path).check_finite()
    except MedsegError as error:
        assert "a.nii" in str(error)  # noqa: PT017 - refused, or harmless
