"""Units, sides and places that headers state, leave open or give in odd words."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from medseg.discovery.file_facts import facts_of_file
from medseg.errors import GeometryError, ReadError
from medseg.reading import read_labels, read_scan
from medseg.writing import write_labels, write_scan

VALUES = np.random.default_rng(1).integers(0, 900, (5, 7, 4)).astype(np.int16)
AFFINE = np.array([[-0.6, 0, 0, 21], [0, -0.9, 0, 17], [0, 0, 3.5, -8], [0, 0, 0, 1.0]])


def nifti(path, affine=AFFINE, *, unit="mm", values=VALUES):
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e3), ("meter", 1e-3)])
def test_other_units_become_mm(tmp_path, unit, factor):
    path = nifti(tmp_path / "a.nii.gz", np.diag([factor, factor, factor, 1]) @ AFFINE, unit=unit)
    scan = read_scan(path)
    np.testing.assert_allclose(scan.grid.affine, AFFINE, rtol=1e-6)
    assert any("converted to mm" in note for note in scan.provenance.notes)


def test_voxels_never_begin_inside_the_header(tmp_path):
    raw = bytearray(nifti(tmp_path / "a.nii").read_bytes())
    for offset in (0.0, 128.0):
        raw[108:112] = np.float32(offset).tobytes()
        (tmp_path / f"{offset:.0f}.nii").write_bytes(raw)
    assert np.array_equal(read_scan(tmp_path / "0.nii").voxels[0], VALUES)
    with pytest.raises(ReadError, match="offset 128 too low"):
        read_scan(tmp_path / "128.nii")


@pytest.mark.parametrize("code", [2, 3, 4])
def test_what_the_world_is_comes_through(tmp_path, code):
    image = nib.Nifti1Image((VALUES > 400).astype(np.uint8), AFFINE)
    image.set_sform(AFFINE, code)
    image.set_qform(AFFINE, code)
    nib.save(image, tmp_path / "a.nii.gz")
    write_scan(read_scan(tmp_path / "a.nii.gz"), tmp_path / "scan.nii.gz")
    write_labels(read_labels(tmp_path / "a.nii.gz"), tmp_path / "labels.nii.gz")
    for name in ("scan", "labels"):
        header = nib.load(tmp_path / f"{name}.nii.gz").header
        assert (header["sform_code"], header["qform_code"]) == (code, code)


def test_gzipped_twice_is_said_in_one_sentence(tmp_path, capfd):
    plain = nifti(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(gzip.compress(plain)))
    with pytest.raises(ReadError, match="gzipped twice"):
        read_scan(tmp_path / "b.nii.gz")
    assert capfd.readouterr().err == ""


BODY = VALUES.tobytes(order="F")


def nrrd(path, *fields, body=BODY):
    head = ("NRRD0005", "type: short", "dimension: 3", "sizes: 5 7 4", "endian: little", *fields)
    path.write_bytes("\n".join(head).encode() + b"\n\n" + body)
    return path


RAW = "encoding: raw"
DIRECTIONS = "space directions: (0.6,0,0) (0,0.9,0) (0,0,3.5)"
HEAD = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 5 7 4\nElementType = MET_SHORT\n"
)


def metaimage(path, *fields):
    head = HEAD + "".join(f"{field}\n" for field in fields) + "ElementDataFile = LOCAL\n"
    path.write_bytes(head.encode() + VALUES.tobytes(order="F"))
    return path


@pytest.mark.parametrize(
    ("fields", "measured"),
    [
        (("spacings: 0.6 0.9 3.5",), True),
        ((), False),
        (("space: scanner-xyz", DIRECTIONS), True),
        (("space: 3D-left-handed", DIRECTIONS), True),
    ],
)
def test_a_nrrd_that_does_not_say_where_left_is(tmp_path, fields, measured):
    scan = read_scan(nrrd(tmp_path / "a.nrrd", RAW, *fields))
    assert np.array_equal(scan.voxels[0], VALUES)
    known = scan.provenance.laterality_known, scan.provenance.has_physical_size
    assert known == (False, measured)
    assert scan.grid.spacing_mm == pytest.approx((0.6, 0.9, 3.5) if measured else (1, 1, 1))
    assert any("1 mm is assumed" in note for note in scan.provenance.notes) != measured


def test_a_metaimage_that_says_nothing_of_lengths(tmp_path):
    scan = read_scan(metaimage(tmp_path / "a.mha"))
    assert not scan.provenance.laterality_known
    assert not scan.provenance.has_physical_size


@pytest.mark.parametrize(("space", "signs"), [("LPS", (-1, -1)), ("LAS", (-1, 1)), ("RAS", (1, 1))])
def test_left_and_right_handed_spaces(tmp_path, space, signs):
    scan = read_scan(nrrd(tmp_path / "a.nrrd", RAW, f"space: {space}", DIRECTIONS))
    expected = np.diag([0.6 * signs[0], 0.9 * signs[1], 3.5, 1])
    np.testing.assert_allclose(scan.grid.affine, expected, atol=1e-12)
    assert scan.provenance.laterality_known


def test_units_in_text_headers(tmp_path):
    units = 'space units: "um" "um" "um"'
    lengths = "space directions: (600,0,0) (0,900,0) (0,0,3500)"
    made = [nrrd(tmp_path / "a.nrrd", RAW, "space: LPS", lengths, units)]
    made.append(
        metaimage(tmp_path / "a.mha", "ElementSpacing = 0.06 0.09 0.35", "DistanceUnits = cm")
    )
    for path in made:
        assert read_scan(path).grid.spacing_mm == pytest.approx((0.6, 0.9, 3.5))


@pytest.mark.parametrize(
    "fields",
    [
        ("space: LPS", "space directions: (nan,nan,nan) (nan,nan,nan) (nan,nan,nan)"),
        ("spacings: 0.6 nan 3.5",),
        ("space: right-posterior-superior", DIRECTIONS),
    ],
)
def test_lengths_and_spaces_that_are_not_known_are_refused(tmp_path, fields):
    with pytest.raises(GeometryError, match=r"its field 'spac"):
        read_scan(nrrd(tmp_path / "a.nrrd", RAW, *fields))


def test_a_header_without_its_voxels_names_the_file(tmp_path, capfd):
    nrrd(tmp_path / "a.nhdr", RAW, "space: LPS", DIRECTIONS, "data file: voxels.raw", body=b"")
    (tmp_path / "a.mhd").write_text(HEAD + "ElementDataFile = voxels.raw\n")
    for name in ("a.nhdr", "a.mhd"):
        with pytest.raises(ReadError, match=r"voxels\.raw") as caught:
            read_scan(tmp_path / name)
        assert caught.value.code == "NOT_FOUND"
    (tmp_path / "b.mha").write_text("ObjectType = Image\nNDims = 99\nElementDataFile = LOCAL\n")
    with pytest.raises(ReadError):
        read_scan(tmp_path / "b.mha")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("space", "origin"),
    [
        ("right-anterior-superior-time", (1, 2, 3)),
        ("RAST", (1, 2, 3)),
        ("left-anterior-superior-time", (-1, 2, 3)),
        ("left posterior superior time", (-1, -2, 3)),
    ],
)
def test_spaces_with_time_have_the_sides_they_name(tmp_path, space, origin):
    path = tmp_path / "a.nrrd"
    fields = (
        *("NRRD0005", "type: short", "dimension: 4", "sizes: 5 7 4 2", "endian: little", RAW),
        *(f"space: {space}", "space origin: (1,2,3,0)"),
        "space directions: (0.6,0,0,0) (0,0.9,0,0) (0,0,3.5,0) (0,0,0,1)",
    )
    path.write_bytes("\n".join(fields).encode() + b"\n\n" + BODY * 2)
    scan = read_scan(path)
    assert tuple(scan.grid.affine[:3, 3]) == origin
    assert scan.provenance.laterality_known


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("nrrd", ("spacings: 0 0.9 3.5",)),
        ("nrrd", ("spacings: 0.6 wide 3.5",)),
        ("nrrd", ("space: LPS", "space directions: (0,0,0) (0,0.9,0) (0,0,3.5)")),
        ("nrrd", ("space: LPS", "space directions: (1,0,0) (1,0,0) (0,0,3.5)")),
        ("mha", ("ElementSpacing = 0 0.9 3.5",)),
        ("mha", ("ElementSpacing = nan 0.9 3.5",)),
        ("mha", ("TransformMatrix = 1 0 0 1 0 0 0 0 1",)),
        ("mha", ("TransformMatrix = a b c d e f g h i",)),
    ],
)
def test_spacings_and_axes_that_place_nothing_are_named(tmp_path, name, fields):
    path = (nrrd(tmp_path / "a.nrrd", RAW, *fields), metaimage(tmp_path / "a.mha", *fields))
    with pytest.raises(GeometryError, match=r"its field '(spac|Elem|Tran)") as caught:
        read_scan(path[name == "mha"])
    assert caught.value.code == "UNKNOWN_SPACING"


def test_axes_of_different_units_are_refused(tmp_path):
    units = 'space units: "mm" "mm" "cm"'
    with pytest.raises(GeometryError, match="different units"):
        read_scan(nrrd(tmp_path / "a.nrrd", RAW, "space: LPS", DIRECTIONS, units))


def test_what_takes_the_place_of_a_header_s_field_is_told(tmp_path):
    origin = "space origin: (nan,nan,nan)"
    made = {
        nrrd(tmp_path / "a.nrrd", RAW, "space: LPS", DIRECTIONS, origin): "0 is assumed",
        metaimage(tmp_path / "a.mha", "Offset = nan 0 0"): "0 is assumed",
        metaimage(tmp_path / "b.mha", "TransformMatrix = 2 0 0 0 1 0 0 0 1"): "no unit vectors",
    }
    for number, (field, at, value, note) in enumerate(
        [
            ("sform_code", 254, np.int16(7), "sform_code is 7"),
            ("scl_slope", 112, np.float32(np.inf), "scl_slope is infinite"),
        ]
    ):
        raw = bytearray(nifti(tmp_path / f"{number}.nii").read_bytes())
        raw[at : at + value.nbytes] = value.tobytes()
        assert nib.Nifti1Header(bytes(raw[:348]), check=False)[field] == value
        (tmp_path / f"{number}.nii").write_bytes(raw)
        made[tmp_path / f"{number}.nii"] = note
    for path, note in made.items():
        assert any(note in one for one in read_scan(path).provenance.notes), path


def test_a_nifti_of_no_spacing_says_so(tmp_path, capfd):
    image = nib.Nifti1Image(VALUES, None)
    raw = bytearray(image.to_bytes())
    raw[80:84] = np.float32(0).tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    scan = read_scan(tmp_path / "a.nii")
    assert not scan.provenance.has_physical_size
    assert any("1 mm is assumed" in note for note in scan.provenance.notes)
    assert capfd.readouterr().err == ""


def test_a_list_of_scans_has_the_lengths_that_reading_gives(tmp_path):
    units, lengths = 'space units: "um" "um" "um"', "(600,0,0) (0,900,0) (0,0,3500)"
    fields = ("space: LPS", f"space directions: {lengths}", "space origin: (0,0,0)", units)
    made = [nrrd(tmp_path / "a.nrrd", RAW, *fields)]
    made.append(
        metaimage(tmp_path / "a.mha", "ElementSpacing = 0.06 0.09 0.35", "DistanceUnits = cm")
    )
    made.append(nifti(tmp_path / "a.nii", np.diag([1000, 1000, 1000, 1]) @ AFFINE, unit="micron"))
    for path in made:
        assert facts_of_file(path)["spacing_mm"] == pytest.approx([0.6, 0.9, 3.5])
