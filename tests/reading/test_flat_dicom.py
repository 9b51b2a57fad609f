"""Projections, ultrasound, cines, colour: read as pictures, with what their spacing is worth."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, examples
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom_phantom import Series, random_stored, save
from medseg.discovery.inspection import inspect
from medseg.errors import InputError, MedsegError
from medseg.reading import read_scan
from medseg.reading.dicom.series import list_stacks, read_stack


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
        (
            {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.1, 0.2),
            "calibrated:",
        ),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.15]}, (0.1, 0.2), "is calib"),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, (0.1, 0.2), "uncalib"),
        ({"ImagerPixelSpacing": [0.3, 0.15]}, (0.15, 0.3), "uncalibrated"),
        ({}, (1, 1), "PIXELS_ONLY"),
        ({"PixelSpacing": [0, 0.1]}, (1, 1), "PIXELS_ONLY"),
    ],
)
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
    assert not scan.provenance.laterality_known
    assert scan.provenance.has_physical_size is (word != "PIXELS_ONLY")
    (report,) = inspect(tmp_path)
    assert report.has_physical_size is scan.provenance.has_physical_size


@pytest.mark.parametrize("count", [1, 2])
def test_ultrasound_regions(tmp_path, count):
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    flat(tmp_path / "1", "US", SequenceOfUltrasoundRegions=[region] * count)
    spacing = read_scan(tmp_path).grid.spacing_mm[:2]
    assert spacing == pytest.approx((0.2, 0.3) if count == 1 else (1, 1))


CORNERS = ("MinX0", "MinY0", "MaxX1", "MaxY1")


@pytest.mark.parametrize(
    ("corners", "kind", "spacing", "word"),
    [
        ((0, 0, 6, 8), 1, (0.2, 0.3), "ultrasound region;"),
        ((1, 2, 5, 7), 1, (0.2, 0.3), "(columns 1 to 5, rows 2 to 7, from 0) and holds there only"),
        ((0, 0, 6, 8), 2, (1, 1), "PIXELS_ONLY"),
    ],
)
def test_where_an_ultrasound_region_lies(tmp_path, corners, kind, spacing, word):
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    region.RegionSpatialFormat = kind
    for corner, pixel in zip(CORNERS, corners, strict=True):
        setattr(region, f"RegionLocation{corner}", pixel)
    flat(tmp_path / "1", "US", SequenceOfUltrasoundRegions=[region])
    scan = read_scan(tmp_path)
    assert scan.grid.spacing_mm[:2] == pytest.approx(spacing)
    assert word in "; ".join(scan.provenance.notes)


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


def test_palette_colour_without_its_palette_is_refused(tmp_path):
    flat(tmp_path / "1", "US", PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "COLOUR"


def test_palette_colour_is_read_in_colour(tmp_path):
    table = np.arange(256, dtype=np.uint16)
    tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for factor, colour in enumerate(("Red", "Green", "Blue"), start=1):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = (table * factor).tobytes()
    stored = random_stored((1, 9, 7)) % 256
    ds = Series(stored, tags=tags).slice(0)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.RescaleSlope, ds.RescaleIntercept
    ds.Modality = "US"
    save(ds, tmp_path / "1")
    scan = read_scan(tmp_path)
    assert scan.channels == 3
    for factor in (1, 2, 3):
        assert np.array_equal(scan.voxels[factor - 1, ..., 0], stored[0].T * factor)


@pytest.mark.parametrize(
    ("modality", "field"), [("NM", "PixelSpacing"), ("RTIMAGE", "ImagePlanePixelSpacing")]
)
def test_planar_images_of_other_kinds_are_read(tmp_path, modality, field):
    ds = Series(random_stored((1, 9, 7))).slice(0)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    ds.Modality = modality
    setattr(ds, field, [2.2, 1.1])
    save(ds, tmp_path / "1")
    scan = read_scan(tmp_path)
    assert np.allclose(scan.grid.spacing_mm[:2], (1.1, 2.2))
    assert not scan.provenance.laterality_known


def cine(path, modality="XA", frames=4, compression=None, **tags):
    """A multi-frame file without functional groups; its stored values (frames, rows, columns)."""
    size = (64, 48) if compression else (9, 7)
    series = Series(random_stored((frames, *size)), intercept=0, tags={"BitsStored": 12})
    ds = series.slice(0)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    ds.Modality, ds.NumberOfFrames, ds.HighBit = modality, frames, 11
    ds.FrameTime, ds.FrameIncrementPointer = 40, 0x00181063
    ds.PixelData = series.stored.tobytes()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    if compression:
        ds.compress(compression, generate_instance_uid=False)
    save(ds, path)
    return series.stored


@pytest.mark.parametrize("compression", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_each_frame_of_a_cine_is_a_picture(tmp_path, compression):
    stored = cine(tmp_path / "1", ImagerPixelSpacing=[0.3, 0.15], compression=compression)
    for number, truth in enumerate(stored, start=1):
        scan = read_scan(tmp_path / "1", series=str(number))
        assert np.array_equal(scan.voxels[0, ..., 0], truth.T)
        assert scan.grid.spacing_mm[:2] == pytest.approx((0.15, 0.3))
        assert scan.provenance.instance_uids == ()
        notes = " ".join(scan.provenance.notes)
        assert f"frame {number} of 4 of a cine" in notes
        assert "uncalibrated" in notes


def test_a_cine_asks_which_frame_and_says_so_in_one_line(tmp_path):
    cine(tmp_path / "1", "US", frames=300)
    with pytest.raises(InputError, match=r"1 to 300 .*frames 1 to 300 of a cine") as caught:
        read_scan(tmp_path / "1")
    assert caught.value.code == "NEEDS_SELECTION"
    assert str(caught.value).count("\n") == 1


def test_a_cine_beside_a_picture(tmp_path):
    stored = cine(tmp_path / "1", "US", frames=3)
    picture = flat(tmp_path / "2", "US")
    stacks = list_stacks(tmp_path)
    assert [one.volume for one in stacks] == [(1, 3), (2, 3), (3, 3), (1, 1)]
    assert np.array_equal(read_scan(tmp_path, series="2").voxels[0, ..., 0], stored[1].T)
    assert np.array_equal(read_scan(tmp_path, series="4").voxels[0], picture.values())
    reports = inspect(tmp_path / "1", pixels=True)
    assert [(one.volume, one.volumes, one.verdict.outcome) for one in reports] == [
        (number, 3, "ok") for number in (1, 2, 3)
    ]


def test_a_cine_of_one_frame_is_a_picture(tmp_path):
    stored = cine(tmp_path / "1", "US", frames=1)
    scan = read_scan(tmp_path / "1")
    assert np.array_equal(scan.voxels[0, ..., 0], stored[0].T)
    assert not any("cine" in note for note in scan.provenance.notes)


@pytest.mark.parametrize(
    ("planar", "compression"), [(0, None), (1, None), (0, RLELossless), (0, JPEG2000Lossless)]
)
def test_cines_in_colour(tmp_path, planar, compression):
    truth = np.random.default_rng(3).integers(0, 255, (2, 64, 48, 3), np.uint8)
    stored = truth.transpose(0, 3, 1, 2) if planar else truth
    cine(
        tmp_path / "1",
        "US",
        frames=2,
        compression=compression,
        Rows=64,
        Columns=48,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=planar,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=stored.tobytes(),
    )
    for number in (1, 2):
        scan = read_scan(tmp_path / "1", series=str(number))
        assert np.array_equal(scan.voxels[..., 0], truth[number - 1].transpose(2, 1, 0))


def luminance_and_chroma(colours):
    """YBR_FULL of RGB, by PS3.3 C.7.6.3.1.2."""
    to_ybr = np.array(
        [
            [0.2990, 0.5870, 0.1140],
            [-0.1687, -0.3313, 0.5],
            [0.5, -0.4187, -0.0813],
        ]
    )
    return np.rint(colours @ to_ybr.T + [0, 128, 128]).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["YBR_FULL", "YBR_FULL_422"])
def test_luminance_and_chroma_become_red_green_and_blue(tmp_path, kind):
    """Pairs of pixels share a colour, so that nothing is lost where they share their chroma."""
    pairs = np.random.default_rng(4).integers(40, 200, (2, 10, 4, 3), np.uint8)
    truth = np.repeat(pairs, 2, axis=2)
    stored = luminance_and_chroma(truth)
    if kind == "YBR_FULL_422":
        stored = np.concatenate([stored[:, :, ::2, :1], stored[:, :, ::2]], axis=3)
    cine(
        tmp_path / "1",
        "US",
        frames=2,
        Rows=10,
        Columns=8,
        SamplesPerPixel=3,
        PhotometricInterpretation=kind,
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=stored.tobytes(),
    )
    for number in (1, 2):
        found = read_scan(tmp_path / "1", series=str(number)).voxels[..., 0].astype(int)
        assert np.abs(found - truth[number - 1].transpose(2, 1, 0)).max() <= 2


def test_a_real_cine_of_a_scanner(tmp_path):
    """Thirty frames of JPEG with halved chroma; Pillow decodes them a second time."""
    path = examples.get_path("ybr_color")
    stacks = list_stacks(path)
    assert len(stacks) == 30
    frames = list(generate_frames(dcmread(path).PixelData, number_of_frames=30))
    for k in (0, 29):
        picture = np.asarray(Image.open(io.BytesIO(frames[k])).convert("RGB"))
        assert np.array_equal(read_stack(stacks[k]).voxels[..., 0], picture.transpose(2, 1, 0))


@pytest.mark.parametrize(
    "tags",
    [
        {"FrameIncrementPointer": 0x00182005},  # SliceLocationVector: they are slices
        {"modality": "SM"},  # tiles
        {"modality": "CT"},
        {"PerFrameFunctionalGroupsSequence": [Dataset()] * 4},
        {"NumberOfFrames": 2_000_000_000},
    ],
    ids=str,
)
def test_frames_that_may_lie_apart_are_no_cine(tmp_path, tags):
    cine(tmp_path / "1", **tags)
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path / "1")
    assert caught.value.code == "NO_FUNCTIONAL_GROUPS"


@pytest.mark.parametrize("compression", [None, RLELossless])
def test_a_cine_with_fewer_frames_than_it_says(tmp_path, compression):
    cine(tmp_path / "1", frames=4, compression=compression)
    whole = (tmp_path / "1").read_bytes()
    stacks = list_stacks(tmp_path / "1")
    for part in (0.7, 0.9):
        (tmp_path / "1").write_bytes(whole[: int(len(whole) * part)])
        for stack in stacks:
            with pytest.raises(MedsegError):
                read_stack(stack)
