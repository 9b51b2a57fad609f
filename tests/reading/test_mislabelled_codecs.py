"""Compressed pixels whose file says another encoding: read by their own bytes."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_phantom import Series, random_stored, save
from medseg.discovery.inspection import inspect
from medseg.errors import ReadError
from medseg.reading import read_scan
from medseg.reading.dicom.codestream import possible_syntaxes
from medseg.reading.dicom.headers import read_header

STATED = [RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1]


@pytest.mark.parametrize("stated", STATED, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize(
    "actual", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.keyword
)
def test_values_are_those_of_the_bytes(tmp_path, actual, stated):
    series = Series(random_stored((2, 64, 48)), tags={"BitsStored": 12, "HighBit": 11})
    for k, path in enumerate(series.write(tmp_path)):
        ds = series.slice(k)
        ds.compress(actual, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = stated
        save(ds, path)
    assert [found.verdict.outcome for found in inspect(tmp_path)] == ["ok"]
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


def test_compressed_pixels_that_are_said_to_be_plain_are_decoded(tmp_path):
    series = Series(random_stored((1, 64, 48)))
    (path,) = series.write(tmp_path)
    ds = series.slice(0)
    ds.compress(RLELossless, generate_instance_uid=False)
    save(ds, path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(RLELossless.encode(), ExplicitVRLittleEndian.encode(), 1))
    assert path.read_bytes() != whole
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


def test_compressed_pixels_of_a_stated_length_are_refused(tmp_path):
    (path,) = Series(random_stored((1, 64, 48))).write(tmp_path)
    ds = dcmread(path)
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds["PixelData"].is_undefined_length = False
    save(ds, path)
    assert inspect(tmp_path)[0].verdict.code == "TRANSFER_SYNTAX"
    with pytest.raises(ReadError, match="are compressed, while its header says") as caught:
        read_scan(tmp_path)
    assert caught.value.code == "TRANSFER_SYNTAX"


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000, JPEGLSLossless, JPEGLosslessSV1])
def test_what_fits_the_bytes_is_believed(tmp_path, syntax):
    (path,) = Series(random_stored((1, 64, 48))).write(tmp_path)
    ds = Series(random_stored((1, 64, 48))).slice(0)
    if syntax == JPEGLosslessSV1:
        pixels = b"\xff\xd8" + b"\xff\xe0\0\x06abcd" + b"\xff\xc3\0\x0b\x10\0\x20\0\x18\x01\0\0\0"
        assert syntax in possible_syntaxes(pixels)
        assert JPEGBaseline8Bit not in possible_syntaxes(pixels)
        return
    ds.compress(JPEG2000Lossless if syntax == JPEG2000 else syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    save(ds, path)
    assert read_header(path).transfer_syntax == syntax


@pytest.mark.parametrize(
    "bytes_", [b"", b"\xff\xd8", bytes(64), b"\x10\0\0\0\x40\0\0\0" + bytes(56), b"\xff\xd8\xff"]
)
def test_unknown_bytes_are_of_no_encoding(bytes_):
    assert possible_syntaxes(bytes_) == ()
