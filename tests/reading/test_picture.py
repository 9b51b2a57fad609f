"""Pictures: exact pixels, channels first, and no millimetres that nobody measured."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import LabelError, ReadError
from medseg.reading import read_labels, read_scan


def picture(path, values):
    """Write values (J, I) or (J, I, C)."""
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=values.ndim == 3), str(path))
    return values


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey(tmp_path, ending, dtype):
    path = tmp_path / f"a.{ending}"
    values = picture(path, pixels(9, 7, dtype=dtype))
    scan = read_scan(path)
    assert scan.voxels.dtype == dtype
    assert np.array_equal(scan.voxels[0, :, :, 0], values.T)
    assert any("PIXELS_ONLY" in note for note in scan.provenance.notes)
    assert not scan.provenance.laterality_known
    assert not scan.provenance.has_physical_size


@pytest.mark.parametrize("channels", [3, 4])
def test_colour(tmp_path, channels):
    values = picture(tmp_path / "a.png", pixels(9, 7, channels))
    scan = read_scan(tmp_path / "a.png")
    assert scan.voxels.shape == (3, 7, 9, 1)
    assert np.array_equal(scan.voxels[..., 0], values[..., :3].transpose(2, 1, 0))


def test_pages_of_a_tiff(tmp_path):
    values = pixels(4, 9, 7)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.tif"))
    assert np.array_equal(read_scan(tmp_path / "a.tif").voxels[0], values.transpose(2, 1, 0))


def test_masks(tmp_path):
    values = picture(tmp_path / "m.png", (pixels(9, 7) > 99).astype(np.uint8) * 255)
    labels = read_labels(tmp_path / "m.png")
    assert np.array_equal(labels.values[..., 0], values.T)
    assert labels.table.names == ("label 255",)
    picture(tmp_path / "m.jpg", values)
    with pytest.raises(LabelError, match="JPEG"):
        read_labels(tmp_path / "m.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_truncation_never_gives_pixels(tmp_path, name):
    path = tmp_path / name
    picture(path, pixels(60, 50))
    whole = path.read_bytes()
    for part in range(2, 99, 4):
        path.write_bytes(whole[: len(whole) * part // 100])
        with pytest.raises(ReadError):
            read_scan(path)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    picture(tmp_path / "a.png", pixels(9, 7))
    content = bytearray((tmp_path / "a.png").read_bytes())
    import struct
    import zlib

    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ReadError):
        read_scan(tmp_path / "a.png")


def test_real_pictures(shared_data):
    assert read_scan(shared_data / "nuclei_2d/histo.jpg").channels == 3
    scan = read_scan(shared_data / "nuclei_2d/img2d.tif")
    assert scan.grid.shape == read_scan(shared_data / "nuclei_2d/mask2d.tif").grid.shape
