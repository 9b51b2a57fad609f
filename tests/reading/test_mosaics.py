"""Slices tiled in one image: exact where the private header places them, else refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from dicom_phantom import Series, random_stored, rotation, save
from medseg.discovery.inspection import inspect
from medseg.errors import InputError
from medseg.reading import read_scan

TURN = rotation((0.9, 0.2, -0.3, 0.1))
ACROSS = 3
SLICES = 7


def tiled():
    """An oblique series of seven slices, and one image that holds them all."""
    series = Series(
        random_stored((SLICES, 6, 4)),
        orientation=TURN[:, :2].T.ravel(),
        pixel_spacing_mm=(0.75, 0.5),
    )
    image = np.zeros((ACROSS, 6, ACROSS, 4), np.uint16)
    for k, plane in enumerate(series.stored):
        image[k // ACROSS, :, k % ACROSS] = plane
    ds = series.slice(0)
    ds.Rows, ds.Columns = ACROSS * 6, ACROSS * 4
    ds.PixelData = image.tobytes()
    return series, ds


def csa(**numbers):
    """A CSA header of the second kind with these elements."""
    content = b"SV10\4\3\2\1" + struct.pack("<II", len(numbers), 77)
    for name, values in numbers.items():
        content += struct.pack("<64si4s3i", name.encode(), len(values), b"FD", 3, len(values), 77)
        for value in values:
            text = f"{value:.10f}".encode() + b"\0"
            content += struct.pack("<4i", len(text), len(text), 77, 205)
            content += text + b"\0" * (-len(text) % 4)
    return content


def write_siemens(folder, *, direction=1.0, count=SLICES, protocol=None, normal=None):
    """A Siemens mosaic, whose position is that of an image as large as the mosaic."""
    series, ds = tiled()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    row, column = series.orientation[:3], series.orientation[3:]
    between_rows, between_columns = series.pixel_spacing_mm
    corner = series.position(0) - row * between_columns * (ACROSS - 1) * 4 / 2
    corner = corner - column * between_rows * (ACROSS - 1) * 6 / 2
    ds.ImagePositionPatient = [format_number_as_ds(x) for x in corner]
    ds.SpacingBetweenSlices = 2.5
    ds.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    normal = direction * TURN[:, 2] if normal is None else normal
    ds.add_new(
        0x00291010, "OB", csa(NumberOfImagesInMosaic=[count], SliceNormalVector=list(normal))
    )
    if protocol is not None:
        ds.add_new(0x00291020, "OB", protocol(series).encode())
    save(ds, folder / "1")
    return series


def write_vframe(folder, *, count=SLICES, blank=None):
    """A VFRAME image of United Imaging."""
    series, ds = tiled()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
    items = [Dataset() for _ in range(SLICES)]
    for k, item in enumerate(items):
        if k != blank:
            item.ImagePositionPatient = [format_number_as_ds(x) for x in series.position(k)]
    ds.add_new(0x00650010, "LO", "Image Private Header")
    ds.add_new(0x00651050, "DS", str(count))
    ds.add_new(0x00651051, "SQ", items)
    save(ds, folder / "1")
    return series


@pytest.mark.parametrize("write", [write_siemens, write_vframe])
def test_tiles_are_slices(tmp_path, write):
    series = write(tmp_path)
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values())
    ends = [[0, 0, 0], [3, 5, SLICES - 1]]
    expected = [series.world(*end) for end in ends]
    assert np.allclose(scan.grid.to_world(ends), expected, atol=1e-3)
    assert inspect(tmp_path)[0].verdict.outcome == "ok"
    assert not scan.provenance.instance_uids


def test_slices_against_the_normal_come_out_in_the_order_of_the_normal(tmp_path):
    series = write_siemens(tmp_path, direction=-1.0)
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values()[..., ::-1])
    last_stored = series.world(0, 0, 0) + series.world(0, 0, 0) - series.world(0, 0, SLICES - 1)
    assert np.allclose(scan.grid.to_world([0, 0, 0]), last_stored, atol=1e-3)


def centres(series, *, moved=0.0):
    """The protocol's centre of every slice, moved apart from each other when asked."""
    lines = []
    for k in range(SLICES):
        half = (series.world(4, 6, k) - series.world(0, 0, k)) / 2
        ras = series.world(0, 0, k) + half
        lps = ras * [-1, -1, 1] + moved * (k - (SLICES - 1) / 2) * TURN[:, 2]
        for axis, mm in zip(("Sag", "Cor", "Tra"), lps, strict=True):
            lines.append(f"sSliceArray.asSlice[{k}].sPosition.d{axis} = {mm:.6f}")
    return "\n".join(lines)


def test_the_protocol_confirms_a_mosaic(tmp_path):
    series = write_siemens(tmp_path, protocol=centres)
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (write_siemens, {"count": 17}),
        (write_siemens, {"normal": [1.0, 0.0, 0.0]}),
        (write_siemens, {"protocol": lambda series: centres(series, moved=0.2)}),
        (write_vframe, {"count": SLICES - 1}),
        (write_vframe, {"blank": 2}),
    ],
)
def test_contradictions_are_refused(tmp_path, write, options):
    write(tmp_path, **options)
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "MOSAIC"
    assert inspect(tmp_path)[0].verdict.code == "MOSAIC"
