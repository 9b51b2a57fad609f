"""Pictures: exact pixels, channels first, and no millimetres that nobody measured."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from medseg.errors import LabelError, ReadError
from medseg.reading import read_labels, read_scan
from medseg.volume import LabelTable


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


CLASSES = np.array([[0, 1, 2, 0], [2, 2, 1, 0], [0, 0, 1, 1]], np.uint8)  # rows, columns


def with_palette(values):
    mask = Image.fromarray(values).convert("P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 128, 0, 0] + [7] * 759)  # 1 and 2 look alike
    return mask


def mask_of(path, **options):
    """Label values by row and column."""
    return read_labels(path, **options).values[..., 0].T


@pytest.mark.parametrize("name", ["m.png", "m.tif", "M.TIFF"])
def test_the_index_of_a_palette_is_the_class(tmp_path, name):
    with_palette(CLASSES).save(tmp_path / name)
    assert np.array_equal(mask_of(tmp_path / name), CLASSES)
    colours = read_scan(tmp_path / name).voxels  # as an image, what is shown counts
    assert np.array_equal(np.unique(colours[0]), [0, 128])
    assert not colours[1:].any()


def test_a_palette_that_is_packed_or_transparent(tmp_path):
    with_palette(CLASSES).save(tmp_path / "packed.png", bits=4)
    with_palette(CLASSES).save(tmp_path / "transparent.png", transparency=2)
    for name in ("packed.png", "transparent.png"):
        assert np.array_equal(mask_of(tmp_path / name), CLASSES)


def test_pages_with_palettes(tmp_path):
    pages = [with_palette(np.roll(CLASSES, page, 0)) for page in range(3)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    values = read_labels(tmp_path / "m.tif").values
    assert all(np.array_equal(values[..., k].T, np.roll(CLASSES, k, 0)) for k in range(3))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_equal_colours_are_one_channel(tmp_path, dtype, channels, ending):
    values = np.dstack([CLASSES * dtype(100)] * channels)
    if channels == 4:
        values[..., 3] = np.iinfo(dtype).max
    picture(tmp_path / f"m.{ending}", values)
    assert np.array_equal(mask_of(tmp_path / f"m.{ending}"), CLASSES.astype(int) * 100)


def test_what_is_transparent_is_background(tmp_path):
    opaque = (CLASSES > 0).astype(np.uint8) * 255
    picture(tmp_path / "m.png", np.dstack([np.full_like(opaque, 255)] * 3 + [opaque]))
    assert np.array_equal(mask_of(tmp_path / "m.png"), opaque)
    Image.fromarray(np.dstack([np.full_like(opaque, 3), opaque]), "LA").save(tmp_path / "la.png")
    assert np.array_equal(mask_of(tmp_path / "la.png"), opaque // 85)
    picture(tmp_path / "half.png", np.dstack([opaque] * 3 + [np.full_like(opaque, 128)]))
    with pytest.raises(LabelError, match=r"half\.png.*half transparent"):
        read_labels(tmp_path / "half.png")


def test_colours_are_called_colours(tmp_path):
    picture(tmp_path / "m.png", np.dstack([CLASSES * 50, CLASSES * 0, CLASSES * 0]))
    with pytest.raises(
        LabelError, match=r"in colour, such as \(100, 0, 0\) at column 0, .*palette"
    ):
        read_labels(tmp_path / "m.png")


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
def test_white_of_one_bit(tmp_path, name):
    white = CLASSES > 0
    Image.fromarray(white).save(tmp_path / name)
    assert np.array_equal(mask_of(tmp_path / name), white)
    assert np.array_equal(
        mask_of(tmp_path / name, table=LabelTable.of({255: "vessel"})), white * 255
    )
    assert np.array_equal(read_scan(tmp_path / name).voxels[0, :, :, 0].T, white * 255)


def test_few_bits_hold_the_number_that_is_stored(tmp_path):
    rows = b"".join(b"\0" + bytes([*row]) for row in ([0b00011011], [0b11000000]))
    header = struct.pack(">IIBBBBB", 4, 2, 2, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    (tmp_path / "m.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )
    assert mask_of(tmp_path / "m.png").tolist() == [[0, 1, 2, 3], [3, 0, 0, 0]]


STORED_AS = {  # EXIF 2.32, tag 274: where the 0th row and column of what is stored belong
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda shown: np.rot90(shown, 2).T,
    8: lambda shown: np.rot90(shown, 3),
}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_pictures_are_turned_as_viewers_turn_them(tmp_path, name, orientation):
    shown = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](shown)))
    stored.save(tmp_path / name, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    read = read_scan(tmp_path / name).voxels[0, :, :, 0].T
    assert read.shape == shown.shape
    assert np.abs(read.astype(int) - shown).max() <= 1


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
@pytest.mark.parametrize("kind", ["grey", "palette", "bits", "wide"])
def test_masks_are_turned_too(tmp_path, name, kind):
    exif = Image.Exif()
    exif[274] = 6
    stored = np.ascontiguousarray(np.rot90(CLASSES))
    masks = {
        "grey": Image.fromarray(stored),
        "palette": with_palette(stored),
        "bits": Image.fromarray(stored > 0),
        "wide": Image.fromarray(stored.astype(np.uint16) * 300),
    }
    masks[kind].save(tmp_path / name, exif=exif)
    right = {"bits": CLASSES > 0, "wide": CLASSES.astype(int) * 300}.get(kind, CLASSES)
    assert np.array_equal(mask_of(tmp_path / name), right)


def test_wide_colours_that_are_turned_are_refused_not_rounded(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    picture(tmp_path / "a.png", pixels(9, 7, 3, dtype=np.uint16))
    content = (tmp_path / "a.png").read_bytes()
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(content[:33] + chunk + content[33:])
    with pytest.raises(ReadError, match="16-bit colours"):
        read_scan(tmp_path / "a.png")


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


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_truncation_of_palettes_never_gives_pixels(tmp_path, name):
    path = tmp_path / name
    with_palette(pixels(60, 50)).save(path)
    whole = path.read_bytes()
    for part in range(2, 99, 4):
        path.write_bytes(whole[: len(whole) * part // 100])
        with pytest.raises(ReadError):
            read_labels(path)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    picture(tmp_path / "a.png", pixels(9, 7))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ReadError):
        read_scan(tmp_path / "a.png")


def test_real_pictures(shared_data):
    assert read_scan(shared_data / "nuclei_2d/histo.jpg").channels == 3
    scan = read_scan(shared_data / "nuclei_2d/img2d.tif")
    assert scan.grid.shape == read_scan(shared_data / "nuclei_2d/mask2d.tif").grid.shape
