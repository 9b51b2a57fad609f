"""DICOM values: exact, per slice, and never from a file that is cut short."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_phantom import CANARY, Series, random_stored, save
from medseg.discovery.inspection import inspect
from medseg.errors import Cancelled, GeometryError, InputError, MedsegError, ReadError
from medseg.reading import read_scan
from medseg.reading.dicom import headers


def rewrite(path, change):
    """Alter one file in place."""
    ds = dcmread(path)
    change(ds)
    save(ds, path)


def test_whole_numbers_stay_int16(tmp_path):
    series = Series(random_stored())
    series.write(tmp_path)
    scan = read_scan(tmp_path)
    assert scan.voxels.dtype == np.int16
    assert scan.voxels.shape == (1, 7, 9, 6)
    assert scan.modality == "CT"


def test_the_transfer_syntax_of_a_file_is_looked_up_once(tmp_path, monkeypatch):
    paths = Series(random_stored()).write(tmp_path)
    asked = []
    real = headers.transfer_syntax
    monkeypatch.setattr(headers, "transfer_syntax", lambda one: asked.append(one) or real(one))
    inspect(tmp_path)
    read_scan(tmp_path)
    assert len(asked) == 2 * len(paths)


def test_slope_of_each_slice(tmp_path):
    series = Series(random_stored(), slopes=(1.0, 0.01, 2.5, 0.3, 1.0, 7.0), intercept=-3.25)
    series.write(tmp_path)
    scan = read_scan(tmp_path)
    assert scan.voxels.dtype == np.float32
    np.testing.assert_allclose(scan.voxels[0], series.values(), rtol=1e-6)


def test_a_late_value_beyond_int16_widens_the_whole(tmp_path):
    stored = random_stored()
    stored[4, 2, 3] = 60000
    series = Series(stored)
    series.write(tmp_path)
    scan = read_scan(tmp_path)
    assert scan.voxels.dtype == np.float32
    assert np.array_equal(scan.voxels[0], series.values())


def test_signed_pixels(tmp_path):
    series = Series((random_stored().astype(np.int16) - 2000).astype(np.int16), intercept=0)
    series.write(tmp_path)
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_are_dropped(tmp_path, signed):
    clean = random_stored()
    if signed:
        clean = (clean.astype(np.int16) - 2048).astype(np.int16)
    dirty = ((clean.view(np.uint16) & 0x0FFF) | 0xA000).view(clean.dtype)
    tags = {"BitsStored": 12, "HighBit": 11}
    Series(dirty, tags=tags).write(tmp_path)
    assert np.array_equal(read_scan(tmp_path).voxels[0], Series(clean).values())


def test_padding_becomes_air(tmp_path):
    stored = (random_stored().astype(np.int16)).astype(np.int16)
    stored[:, 0, :2] = -2000
    series = Series(stored)
    for path in series.write(tmp_path):
        rewrite(path, lambda ds: ds.add_new("PixelPaddingValue", "SS", -2000))
    scan = read_scan(tmp_path)
    assert (scan.voxels[0, :2, 0, :] == -1024).all()
    assert np.array_equal(scan.voxels[0, 2:], series.values()[2:])
    assert any("12 padding voxels" in note for note in scan.provenance.notes)


def test_inverted_display_is_left_alone(tmp_path):
    series = Series(random_stored(), tags={"PhotometricInterpretation": "MONOCHROME1"})
    series.write(tmp_path)
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values())
    assert any("MONOCHROME1" in note for note in scan.provenance.notes)


def test_modality_lookup_table(tmp_path):
    table = Dataset()
    table.ModalityLUTType = "US"
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.add_new("LUTData", "US", [n * 7 % 5000 for n in range(4096)])
    series = Series(random_stored(), slopes=(1.0,), intercept=0)
    for k, path in enumerate(series.write(tmp_path)):
        ds = series.slice(k)
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.ModalityLUTSequence = [table]
        save(ds, path)
    truth = (series.values() * 7) % 5000
    assert np.array_equal(read_scan(tmp_path).voxels[0], truth)


@pytest.mark.parametrize(
    "syntax",
    [RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian],
    ids=lambda uid: uid.keyword,
)
def test_every_encoding_gives_the_same_values(tmp_path, syntax):
    series = Series(random_stored((3, 64, 48)), tags={"BitsStored": 12, "HighBit": 11})
    for k, path in enumerate(series.write(tmp_path)):
        ds = series.slice(k)
        if syntax.is_encapsulated:
            ds.compress(syntax, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            ds.add_new(
                "PixelData", "OW", np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            )
        ds.file_meta.TransferSyntaxUID = syntax
        save(ds, path)
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


def near_lossless(path, low, high, *, near, bits, signed=True):
    """A slice of random values from `low` to `high`, encoded to within `near`; the values."""
    values = np.random.default_rng(2).integers(low, high + 1, (1, 64, 48))
    values[0, 0, :2] = low, high
    stored = values.astype(np.int16 if signed else np.uint16)
    tags = {"BitsStored": bits, "HighBit": bits - 1}
    ds = Series(stored, intercept=0, tags=tags).slice(0)
    ds.compress(JPEGLSNearLossless, generate_instance_uid=False, jls_error=near)
    save(ds, path)
    return values[0].T


@pytest.mark.parametrize("near", [1, 3])
@pytest.mark.parametrize(
    ("low", "high", "bits", "signed"),
    [
        (-1000, 2000, 12, True),
        (-2042, 2041, 12, True),
        (-3, 3, 12, True),
        (-9000, 9000, 16, True),
        (0, 4095, 12, False),
        (0, 65535, 16, False),
    ],
)
def test_loss_stays_within_what_was_asked_for(tmp_path, low, high, bits, near, signed):
    truth = near_lossless(tmp_path / "1", low, high, near=near, bits=bits, signed=signed)
    found = read_scan(tmp_path / "1").voxels[0, ..., 0]
    assert np.abs(found.astype(int) - truth).max() <= near


@pytest.mark.parametrize(("low", "high"), [(-2048, 0), (0, 2047), (-2048, 2047), (-2047, -2040)])
def test_signs_that_loss_may_have_changed_are_refused(tmp_path, low, high):
    """JPEG-LS has no sign: 2047 and -2048 are neighbours in it, and 2 off may be the other."""
    near_lossless(tmp_path / "1", low, high, near=2, bits=12)
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path / "1")
    assert caught.value.code == "SIGN_LOST"


@pytest.mark.parametrize(
    ("kind", "stored_bits"),
    [(np.uint8, 8), (np.int8, 8), (np.int16, 12), (np.int16, 16), (np.uint16, 16)],
)
def test_run_lengths_of_every_width(tmp_path, kind, stored_bits):
    low = 0 if np.dtype(kind).kind == "u" else -(1 << (stored_bits - 1))
    values = np.random.default_rng(5).integers(low, low + (1 << stored_bits), (2, 34, 22))
    tags = {
        "BitsAllocated": 8 * np.dtype(kind).itemsize,
        "BitsStored": stored_bits,
        "HighBit": stored_bits - 1,
        "PixelRepresentation": int(low < 0),
    }
    series = Series(values.astype(kind), intercept=0, tags=tags)
    for path in series.write(tmp_path):
        rewrite(path, lambda ds: ds.compress(RLELossless, encoding_plugin="pydicom"))
    assert np.array_equal(read_scan(tmp_path).voxels[0], series.values())


@pytest.mark.parametrize(
    ("slope", "intercept"), [(1.0, 0.0), (3.0, -32768.0), (-1.0, 7.0), (70000.0, 5.0), (1.0, 3e9)]
)
def test_whole_factors_are_exact(tmp_path, slope, intercept):
    """As int16 where every value fits, else as float32, whatever passes through on the way."""
    stored = random_stored((2, 9, 7)) * np.uint16(5)
    series = Series(stored, slopes=(slope,), intercept=intercept)
    series.write(tmp_path)
    truth = series.values()
    fits = truth.min() >= -32768 and truth.max() <= 32767
    scan = read_scan(tmp_path)
    assert scan.voxels.dtype == (np.int16 if fits else np.float32)
    assert np.array_equal(scan.voxels[0], truth.astype(scan.voxels.dtype))


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:End of file")
@pytest.mark.parametrize("syntax", [None, RLELossless], ids=["raw", "RLE"])
def test_truncation_never_gives_pixels(tmp_path, syntax):
    paths = Series(random_stored((3, 16, 12))).write(tmp_path)
    if syntax:
        for path in paths:
            rewrite(path, lambda ds: ds.compress(syntax, generate_instance_uid=False))
    whole = paths[2].read_bytes()
    for part in range(1, 100, 11 if syntax else 3):
        paths[2].write_bytes(whole[: len(whole) * part // 100])
        with pytest.raises(MedsegError):
            read_scan(tmp_path)


def test_truncated_pixels_have_their_code(tmp_path):
    paths = Series(random_stored((3, 16, 12))).write(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    with pytest.raises(ReadError, match=paths[1].name) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "TRUNCATED"


def as_jpeg_extended(path):
    """Encode a slice in JPEG Extended, 12 bits, as GDCM does."""
    import gdcm

    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_twelve_bits_of_jpeg_extended(tmp_path, bits, photometric):
    j, i = np.mgrid[0:40, 0:24]
    waves = np.sin(i / 7) * np.cos(j / 9)
    stored = np.rint((1 << bits - 1) * (1 + 0.99 * waves)).astype(np.uint16)[None]
    tags = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": photometric}
    series = Series(stored, tags=tags)
    (path,) = series.write(tmp_path)
    as_jpeg_extended(path)

    def state(ds):
        ds.BitsStored, ds.HighBit = bits, bits - 1

    rewrite(path, state)
    assert inspect(tmp_path)[0].verdict.outcome == "ok"
    assert np.abs(read_scan(tmp_path).voxels[0] - series.values()).max() <= 8


def test_signed_values_in_jpeg_extended_are_refused_by_all(tmp_path):
    tags = {"BitsStored": 12, "HighBit": 11}
    (path,) = Series(random_stored((1, 40, 24)), tags=tags).write(tmp_path)
    as_jpeg_extended(path)
    rewrite(path, lambda ds: setattr(ds, "PixelRepresentation", 1))
    assert inspect(tmp_path)[0].verdict.code == "UNSUPPORTED"
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "UNSUPPORTED"


def test_mosaic_is_refused(tmp_path):
    Series(random_stored((1, 9, 7)), tags={"ImageType": ["ORIGINAL", "MOSAIC"]}).write(tmp_path)
    with pytest.raises(GeometryError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "MOSAIC"
    assert "convert it with dcm2niix and give the NIfTI file" in str(caught.value)


def test_colour_without_a_place_is_refused(tmp_path):
    series = Series(random_stored((2, 9, 7)))
    for k in range(2):
        ds = series.slice(k)
        del ds.ImagePositionPatient, ds.ImageOrientationPatient
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelData = 7, bytes(9 * 7 * 3 + 1)
        save(ds, tmp_path / str(k))
    with pytest.raises(InputError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "COLOUR"


def test_frames_without_functional_groups_are_refused(tmp_path):
    ds = Series(random_stored((1, 9, 7))).slice(0)
    ds.NumberOfFrames, ds.PixelData = 3, ds.PixelData * 3
    path = save(ds, tmp_path / "cine")
    with pytest.raises(GeometryError) as caught:
        read_scan(path)
    assert caught.value.code == "NO_FUNCTIONAL_GROUPS"


def test_zero_slope_is_refused(tmp_path):
    Series(random_stored((2, 9, 7)), slopes=(0.0,)).write(tmp_path)
    with pytest.raises(ReadError) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "BAD_RESCALE"


def test_blank_uids_are_read_and_noted(tmp_path):
    series = Series(random_stored())
    for k, path in enumerate(series.write(tmp_path)):
        ds = series.slice(k)
        ds.SOPInstanceUID = ds.SOPClassUID = ""
        ds.save_as(path, enforce_file_format=False)
    scan = read_scan(tmp_path)
    assert np.array_equal(scan.voxels[0], series.values())
    assert scan.provenance.instance_uids == ("",) * 6
    assert any("blank" in note for note in scan.provenance.notes)


def test_one_slice_of_a_series_asks_for_its_folder(tmp_path):
    paths = Series(random_stored()).write(tmp_path)
    with pytest.raises(InputError, match="folder") as caught:
        read_scan(paths[0])
    assert caught.value.code == "ONE_SLICE"


def test_a_lone_slice_is_one_deep(tmp_path):
    series = Series(random_stored((1, 9, 7)), tags={"SliceThickness": 3.5})
    path = series.write(tmp_path)[0]
    scan = read_scan(path)
    assert scan.grid.shape == (7, 9, 1)
    assert scan.grid.spacing_mm[2] == pytest.approx(3.5)


def test_empty_folder_and_missing_path_name_the_path(tmp_path):
    with pytest.raises(ReadError, match=tmp_path.name) as caught:
        read_scan(tmp_path)
    assert caught.value.code == "NO_IMAGES"
    with pytest.raises(ReadError, match="nowhere") as caught:
        read_scan(tmp_path / "nowhere")
    assert caught.value.code == "NOT_FOUND"


def test_progress_is_told_and_may_cancel(tmp_path):
    Series(random_stored()).write(tmp_path)
    told = []
    read_scan(tmp_path, progress=lambda *step: told.append(step))
    assert told[-1] == (6, 6, "reading slices")
    assert (6, 6, "reading headers") in told

    def stop(done, total, message):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        read_scan(tmp_path, progress=stop)


def test_no_patient_text_comes_out(tmp_path, caplog, capfd):
    series = Series(random_stored())
    paths = series.write(tmp_path)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        scan = read_scan(tmp_path)
        Series(random_stored((2, 3, 4))).write(tmp_path / "second")
        messages = []
        for damage in (lambda: None, paths[2].unlink):
            damage()
            for chosen in (None, "1"):
                try:
                    read_scan(tmp_path, series=chosen)
                except MedsegError as error:
                    messages.append(str(error))
    assert len(messages) == 3
    said = [*messages, caplog.text, *map(str, warned), repr(scan.provenance), *capfd.readouterr()]
    assert not [text for text in said if CANARY in text or "CANARY" in text]
