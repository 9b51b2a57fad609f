"""OME-Zarr: chunks and JSON as its specification lays them out, and as zarr reads them."""

import json
import zlib

import numpy as np
import pytest

from medseg.errors import WriteError
from medseg.volume import Grid, Scan
from medseg.writing import write_scan


@pytest.fixture
def scan():
    """Two channels of 70 x 5 x 130 voxels, empty but for two, on a turned grid."""
    voxels = np.zeros((2, 70, 5, 130), np.uint8)
    voxels[0, 69, 2, 1], voxels[1, 3, 4, 129] = 7, 255
    affine = np.array([[0, -0.5, 0, 3], [0.7, 0, 0, -4], [0, 0, 2.5, 9], [0, 0, 0, 1]])
    return Scan(voxels, Grid((70, 5, 130), affine), channel_names=("background", "liver"))


def test_chunks_lie_where_the_specification_says(scan, tmp_path):
    path = write_scan(scan, tmp_path / "a.ome.zarr")
    files = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert files == {".zattrs", ".zgroup", "0/.zarray", "0/0/0/0/1", "0/1/2/0/0"}
    chunk = np.frombuffer(zlib.decompress((path / "0/0/0/0/1").read_bytes()), np.uint8)
    assert chunk.reshape(64, 5, 64)[1, 2, 69 - 64] == 7  # of z, y, x
    assert chunk.sum() == 7


def test_axes_spacing_and_names_are_told(scan, tmp_path):
    content = json.loads((write_scan(scan, tmp_path / "a.ome.zarr") / ".zattrs").read_text())
    (image,) = content["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    (transform,) = image["datasets"][0]["coordinateTransformations"]
    assert transform == {"type": "scale", "scale": [1.0, 2.5, 0.5, 0.7]}
    assert [channel["label"] for channel in content["omero"]["channels"]] == ["background", "liver"]
    assert content["medseg"]["affine_ijk_to_ras_mm"] == scan.grid.affine.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_zarr_reads_it(dtype, tmp_path):
    zarr = pytest.importorskip("zarr", reason="zarr reads what was written")
    voxels = np.random.default_rng(0).normal(50, 20, (2, 70, 65, 3)).astype(dtype)
    path = write_scan(Scan(voxels, Grid((70, 65, 3), np.eye(4))), tmp_path / "a.ome.zarr")
    array = np.asarray(zarr.open(str(path), mode="r")["0"])
    assert array.dtype == voxels.dtype
    assert np.array_equal(array.transpose(0, 3, 2, 1), voxels)


def test_another_folder_is_never_replaced(scan, tmp_path):
    path = tmp_path / "a.ome.zarr"
    path.mkdir()
    (path / "mine.txt").write_text("x")
    with pytest.raises(WriteError, match="no OME-Zarr"):
        write_scan(scan, path)
    assert (path / "mine.txt").exists()


def test_an_older_one_is_replaced_whole(scan, tmp_path):
    path = write_scan(scan, tmp_path / "a.ome.zarr")
    other = Scan(np.ones((1, 3, 3, 3), np.uint8), Grid((3, 3, 3), np.eye(4)))
    write_scan(other, path)
    assert not (path / "0/1").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_without_its_folder_nothing_is_left(scan, tmp_path):
    with pytest.raises(WriteError, match="cannot write"):
        write_scan(scan, tmp_path / "none" / "a.ome.zarr")
    assert not list(tmp_path.iterdir())
