"""Projections, ultrasound and colour: read as pictures, with what their spacing is worth."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset

from dicom_phantom import Series, random_stored, save
from medseg.errors import InputError
from medseg.reading import read_scan


def flat(path, modality="DX", **tags):
    series = Series(random_stored((1, 9, 7)), intercept=0)
    ds = series.slice(0)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    ds.Modality = modality
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    save(ds, path)
    return series


@pytest.mark.parametrize(
    ("tags", "spacing", "word"),
    [
        ({"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "GEOMETRY"}, (0.1, 0.2),
         "calibrated:"),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.15]}, (0.1, 0.2), "is calib"),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, (0.1, 0.2), "uncalib"),
        ({"ImagerPixelSpacing": [0.3, 0.15]}, (0.15, 0.3), "uncalibrated"),
        ({}, (1, 1), "PIXELS_ONLY"),
        ({"PixelSpacing": [0, 0.1]}, (1, 1), "PIXELS_ONLY"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "XA"])
def test_spacing_and_what_it_is_worth(tmp_path, tags, spacing, word, modality):
    series = flat(tmp_path / "1", modality, **tags)
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values())
    assert scan.grid.shape == (7, 9, 1)
    assert scan.grid.spacing_mm[:2] == pytest.approx(spacing)
    notes = " ".join(scan.provenance.notes)
    assert word in notes
    assert "left and right are not known" in notes


@pytest.mark.parametrize("count", [1, 2])
def test_ultrasound_regions(tmp_path, count):
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    flat(tmp_path / "1", "US", SequenceOfUltrasoundRegions=[region] * count)
    spacing = read_scan(tmp_path).grid.spacing_mm[:2]
    assert spacing == pytest.approx((0.2, 0.3) if count == 1 else (1, 1))


def test_each_projection_is_a_stack_of_its_own(tmp_path):
    flat(tmp_path / "1")
    flat(tmp_path / "2")
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "NEEDS_SELECTION"


def coloured(series, k, planar=0):
    ds = series.slice(k)
    values = np.random.default_rng(k).integers(0, 255, (9, 7, 3), np.uint8)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", planar
    ds.BitsAllocated = ds.BitsStored = 8
    stored = values.transpose(2, 0, 1) if planar else values
    ds.HighBit, ds.PixelData = 7, stored.tobytes() + b"\0"
    return ds, values


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_slices_become_three_channels(tmp_path, planar):
    series, truth = Series(random_stored((3, 9, 7))), []
    for k in range(3):
        ds, values = coloured(series, k, planar)
        truth.append(values)
        save(ds, tmp_path / str(k))
    scan = read_scan(tmp_path)
    assert scan.voxels.shape == (3, 7, 9, 3)
    assert np.array_equal(scan.voxels, np.array(truth).transpose(3, 2, 1, 0))
    np.testing.assert_allclose(scan.grid.to_world((1, 2, 2)), series.world(1, 2, 2), atol=1e-6)


def test_colour_photographs(tmp_path):
    ds, values = coloured(Series(random_stored((1, 9, 7))), 0)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    ds.Modality = "XC"
    save(ds, tmp_path / "1")
    assert np.array_equal(read_scan(tmp_path).voxels[..., 0], values.transpose(2, 1, 0))


def test_palette_colour_is_refused(tmp_path):
    flat(tmp_path / "1", "US", PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "COLOUR"
