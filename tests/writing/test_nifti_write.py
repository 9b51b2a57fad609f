"""NIfTI as other programs read it: forms, intent, names, and bytes that repeat."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import SimpleITK

from medseg.reading import read_labels, read_scan
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable, Provenance
from medseg.volume.conventions import affine_from_itk
from medseg.writing import write_labels

TABLE = LabelTable(
    (
        Label(
            value=2, name="Leber, größer", color=(1, 2, 3), code=Code("10200004", "SCT", "Liver")
        ),
        Label(value=9, name="not in the map", color=(9, 8, 7)),
    )
)


def labels_on(affine, shape=(3, 4, 5)):
    values = np.random.default_rng(0).choice([0, 2], shape).astype(np.uint8)
    return LabelMap(values, Grid(shape, affine), TABLE)


def oblique():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.7, 1.1, 3.0]
    affine[:3, 3] = [100.5, -200.25, 31.0]
    return affine


def test_an_affine_from_nifti_goes_back_bit_for_bit(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), oblique()), tmp_path / "scan.nii")
    grid = read_scan(tmp_path / "scan.nii").grid
    write_labels(labels_on(grid.affine), tmp_path / "a.nii.gz")
    assert np.array_equal(nib.load(tmp_path / "a.nii.gz").affine, grid.affine)


def test_header_as_nibabel_reads_it(tmp_path):
    image = nib.load(write_labels(labels_on(oblique()), tmp_path / "a.nii.gz"))
    header = image.header
    assert header.get_intent()[0] == "label"
    assert header.get_data_dtype() == np.uint8
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert np.array_equal(np.asarray(image.dataobj), labels_on(oblique()).values)
    assert all(not bytes(header[key].tobytes()).strip(b"\0") for key in ("descrip", "db_name"))


def test_sheared_grid_has_no_qform(tmp_path):
    sheared = oblique()
    sheared[:3, 2] += 0.8 * sheared[:3, 1]
    image = nib.load(write_labels(labels_on(sheared), tmp_path / "a.nii"))
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.affine, sheared, atol=1e-4)


def test_itk_sees_the_same_places(tmp_path):
    write_labels(labels_on(oblique()), tmp_path / "a.nii.gz")
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    affine = affine_from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert Grid((3, 4, 5), affine).same_as(Grid((3, 4, 5), oblique()))
    truth = labels_on(oblique()).values
    assert image.GetPixel(2, 3, 4) == truth[2, 3, 4]
    assert image.GetPixel(1, 0, 3) == truth[1, 0, 3]


def test_names_colours_and_codes_travel_in_the_file(tmp_path):
    back = read_labels(write_labels(labels_on(oblique()), tmp_path / "a.nii.gz"))
    assert back.table == TABLE


def test_the_same_labels_give_the_same_bytes(tmp_path):
    one = write_labels(labels_on(oblique()), tmp_path / "one.nii.gz").read_bytes()
    two = write_labels(labels_on(oblique()), tmp_path / "two.nii.gz").read_bytes()
    assert one == two
    assert one[3:8] == bytes(5)  # gzip: no file name, no time


def test_order_in_memory_does_not_matter(tmp_path):
    labels = labels_on(oblique())
    turned = LabelMap(np.asfortranarray(labels.values), labels.grid, TABLE)
    one = write_labels(labels, tmp_path / "one.nii").read_bytes()
    assert one == write_labels(turned, tmp_path / "two.nii").read_bytes()


def test_an_axis_too_long_for_nifti_1(tmp_path):
    labels = labels_on(np.eye(4), (33000, 1, 1))
    path = write_labels(labels, tmp_path / "a.nii.gz")
    assert isinstance(nib.load(path), nib.Nifti2Image)
    assert np.array_equal(read_labels(path).values, labels.values)


def test_a_file_claims_no_side_that_is_not_known(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((5, 6, 7))
    header.set_zooms((2.0, 1.0, 3.0))
    labels = labels_on(header.get_base_affine(), (5, 6, 7))
    unknown = LabelMap(labels.values, labels.grid, TABLE, Provenance(laterality_known=False))
    path = write_labels(unknown, tmp_path / "unknown.nii.gz")
    written = nib.load(path).header
    assert (int(written["sform_code"]), int(written["qform_code"])) == (0, 0)
    back = read_labels(path)
    assert not back.provenance.laterality_known
    assert back.grid.affine.tobytes() == labels.grid.affine.tobytes()
    assert nib.load(write_labels(labels, tmp_path / "a.nii")).header["sform_code"] == 1
