"""Uneven and incomplete series: refused, or repaired from positions when the user says so."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_phantom import Series, random_stored, rotation, save
from medseg.errors import GeometryError
from medseg.reading import Policies, read_scan

RESAMPLE, INTERPOLATE = Policies(irregular="resample"), Policies(missing="interpolate")


def ramp(position, orientation, spacing, shape):
    """Stored pixels (J, I) whose value is a linear function of the place (LPS+ mm)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    row, column = orientation[:3], orientation[3:]
    place = position + rows[..., None] * column * spacing[0] + columns[..., None] * row * spacing[1]
    return np.rint(20_000 + place @ [31.0, 17.0, 53.0]).astype(np.uint16)


def write_ramp(folder, positions, orientation):
    base = Series(random_stored((len(positions), 12, 10)), orientation=orientation, intercept=0)
    for k, position in enumerate(positions):
        ds = base.slice(k)
        ds.ImagePositionPatient = [float(f"{x:.9g}") for x in position]
        ds.PixelData = ramp(position, orientation, base.pixel_spacing_mm, (12, 10)).tobytes()
        save(ds, folder / str(k))


@pytest.mark.parametrize("tilt_mm", [0.0, 0.9])
def test_uneven_slices_land_where_they_lie(tmp_path, tilt_mm):
    turn = rotation((1.0, 0.2, -0.1, 0.3))
    orientation = turn[:, :2].T.ravel()
    depths = np.array([0, 2.0, 4.0, 5.5, 7.5, 10.0, 12.0])
    sideways = np.array([0, 0.1, 0.2, 0.9, 0.4, 0.5, 0.6]) * tilt_mm
    positions = depths[:, None] * turn[:, 2] + sideways[:, None] * turn[:, 1] + [5, -7, 11]
    write_ramp(tmp_path, positions, orientation)
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path, policies=INTERPOLATE)
    assert caught.value.code == "IRREGULAR"
    scan = read_scan(tmp_path, policies=RESAMPLE)
    assert scan.grid.shape == (10, 12, 7)
    inside = np.stack(np.meshgrid(*map(np.arange, (10, 12, 7)), indexing="ij"), -1)[2:-2, 2:-2]
    lps = scan.grid.to_world(inside) * [-1, -1, 1]
    truth = 20_000 + lps @ [31.0, 17.0, 53.0]
    np.testing.assert_allclose(scan.voxels[0][2:-2, 2:-2], truth, atol=3.0)
    assert any("irregular=resample" in note for note in scan.provenance.notes)
    assert scan.provenance.instance_uids == ()
    native = scan.provenance.native
    assert len(set(native.instance_uids)) == 7
    origins = np.array([grid.origin_mm for grid in native.grids]) * [-1, -1, 1]
    np.testing.assert_allclose(origins, positions, atol=1e-6)


def test_missing_slices_are_filled_and_named(tmp_path):
    series = Series(random_stored((12, 9, 7)), step_mm=np.array([0, 0.8, 3.0]))
    series.write(tmp_path, skip=(2, 5, 6))
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path, policies=RESAMPLE)
    assert caught.value.code == "MISSING_SLICE"
    scan = read_scan(tmp_path, policies=INTERPOLATE)
    assert scan.grid.shape == (7, 9, 12)
    values = series.values()
    for k in (0, 1, 3, 4, 7, 8, 11):
        assert np.array_equal(scan.voxels[0, ..., k], values[..., k])
    filled = scan.voxels[0, ..., 2]
    np.testing.assert_allclose(filled, (values[..., 1] + values[..., 3]) / 2, atol=0.51)
    third = (2 * values[..., 4] + values[..., 7]) / 3
    np.testing.assert_allclose(scan.voxels[0, ..., 5], third, atol=0.51)
    np.testing.assert_allclose(scan.grid.to_world((3, 4, 6)), series.world(3, 4, 6), atol=1e-6)
    assert any("slices 3, 6, 7 of 12" in note for note in scan.provenance.notes)


def test_an_even_series_is_read_as_ever(tmp_path):
    series = Series(random_stored())
    series.write(tmp_path)
    scan = read_scan(tmp_path, policies=Policies(irregular="resample", missing="interpolate"))
    assert np.array_equal(scan.voxels[0], series.values())
    assert len(scan.provenance.instance_uids) == 6


def test_more_is_never_made_up_than_is_there(tmp_path):
    series = Series(random_stored((20, 5, 4)))
    series.write(tmp_path, skip=tuple(range(3, 19)))
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path, policies=INTERPOLATE)
    assert caught.value.code == "MISSING_SLICE"


def test_real_tilt_with_gaps_of_one_to_seven_millimetres(shared_data):
    folder = shared_data / "dicom_vendor_qa/ct_ge_tilt_variable_gap/In"
    scan = read_scan(folder, policies=RESAMPLE)
    assert scan.grid.spacing_mm[2] > 1
    assert any("irregular=resample" in note for note in scan.provenance.notes)
