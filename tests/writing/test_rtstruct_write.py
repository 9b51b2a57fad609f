"""RT Structure Sets: every pixel on its side of the contours, on any series; dciodvfy agrees."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_phantom import CANARY, Series, random_stored, rotation
from medseg.errors import WriteError
from medseg.reading import read_labels, read_scan
from medseg.reading.dicom.rtstruct import read_labels_on
from medseg.reading.dicom.series import list_stacks, read_stack
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable
from medseg.writing import write_labels
from writing.dicom_validator import errors_of

TABLE = LabelTable(
    (
        Label(value=2, name="liver", color=(200, 30, 20), code=Code("10200004", "SCT", "Liver")),
        Label(value=7, name="cyst", color=(20, 200, 30)),
        Label(value=300, name="nothing", color=(1, 2, 3)),
    )
)
TURN = rotation((0.9, 0.2, -0.3, 0.1))
SERIES = {
    "axial": Series(random_stored()),
    "oblique": Series(random_stored(), orientation=TURN[:, :2].T.ravel()),
    "tilted": Series(random_stored(), step_mm=np.array([0, 1.3, 3.9])),
    "one slice": Series(random_stored((1, 9, 7))),
}


def labelled(folder, values=None):
    scan = read_scan(folder)
    if values is None:
        values = np.random.default_rng(0).choice([0, 0, 2, 7], scan.grid.shape)
    return LabelMap(values.astype(np.uint16), scan.grid, TABLE, scan.provenance)


def rings_of(path, number):
    """Contours of a ROI, LPS+ mm, read by pydicom alone."""
    dataset = pydicom.dcmread(path)
    (region,) = [one for one in dataset.ROIContourSequence if one.ReferencedROINumber == number]
    rings = [np.reshape(one.ContourData, (-1, 3)) for one in region.get("ContourSequence", [])]
    return [ring.astype(float) for ring in rings]


def area(ring):
    """Area in the plane z = constant, by the shoelace formula."""
    x, y = ring[:, 0], ring[:, 1]
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@pytest.mark.parametrize("name", SERIES)
def test_every_pixel_comes_back(tmp_path, name):
    SERIES[name].write(tmp_path)
    labels = labelled(tmp_path)
    back = read_labels(write_labels(labels, tmp_path / "a.rtstruct.dcm"))
    assert np.array_equal(back.values, labels.values)
    assert back.grid.same_as(labels.grid)
    assert back.table == TABLE
    assert back.provenance.instance_uids == labels.provenance.instance_uids


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    Series(random_stored((2, 24, 20)), orientation=TURN[:, :2].T.ravel()).write(folder)
    return folder


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_shape_with_any_holes_comes_back(large, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    coarse = data.draw(st.sampled_from([1, 2, 4]))
    drawn = rng.choice([0, 2, 2, 7], (20 // coarse, 24 // coarse, 2))
    labels = labelled(large, np.kron(drawn, np.ones((coarse, coarse, 1))))
    path = write_labels(labels, large / "a.rtstruct.dcm")
    assert np.array_equal(read_labels(path).values, labels.values)


def test_a_ring_is_one_keyholed_contour_of_its_own_area(tmp_path):
    SERIES["axial"].write(tmp_path)
    values = np.zeros((7, 9, 6))
    values[1:6, 1:8, 2] = 2
    values[3, 3:5, 2] = 0
    path = write_labels(labelled(tmp_path, values), tmp_path / "a.rtstruct.dcm")
    (ring,) = rings_of(path, 2)
    # 5 x 7 pixels of 0.4 x 0.7 mm without 1 x 2; four corners of each are cut by an eighth
    assert area(ring) == pytest.approx((35 - 2 - 4 / 8 + 4 / 8) * 0.4 * 0.7)
    assert np.allclose(ring[:, 2], -30 + 2 * 2.5)
    assert rings_of(path, 300) == []


@pytest.mark.parametrize("square", [1000, 1108, 1144])
def test_keyholes_over_pixel_centres(tmp_path, square):
    """The shortest way out of a concentric hole may run exactly over centres of pixels."""
    Series(np.zeros((1, 90, 90), np.uint16), pixel_spacing_mm=(0.7, 0.7)).write(tmp_path)
    index = np.moveaxis(np.indices((90, 90, 1)), 0, -1)[..., :2]
    apart = ((index - (44, 45)) ** 2).sum(-1)
    labels = labelled(tmp_path, np.where((apart <= square) & (apart > square / 9), 2, 0))
    path = write_labels(labels, tmp_path / "a.rtstruct.dcm")
    assert np.array_equal(read_labels(path).values, labels.values)


def test_contours_refer_to_the_slice_they_lie_on(tmp_path):
    SERIES["tilted"].write(tmp_path)
    labels = labelled(tmp_path)
    dataset = pydicom.dcmread(write_labels(labels, tmp_path / "a.rtstruct.dcm"))
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    source = pydicom.dcmread(labels.provenance.files[0])
    assert frame.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.PatientName == CANARY
    place = {uid: k for k, uid in enumerate(labels.provenance.instance_uids)}
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        (image,) = contour.ContourImageSequence
        z = np.reshape(contour.ContourData, (-1, 3)).astype(float)[:, 2]
        assert np.allclose(z, -30 + 3.9 * place[image.ReferencedSOPInstanceUID])
        assert contour.NumberOfContourPoints == len(z) >= 4
        assert all(len(str(text)) <= 16 for text in contour.ContourData)


def test_the_same_result_is_the_same_object(tmp_path):
    SERIES["axial"].write(tmp_path)
    labels = labelled(tmp_path)
    first, second = (
        pydicom.dcmread(write_labels(labels, tmp_path / f"{name}.rtstruct.dcm"))
        for name in ("a", "b")
    )
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != first.StudyInstanceUID


@pytest.mark.parametrize("name", SERIES)
def test_dciodvfy_finds_no_error(tmp_path, name):
    SERIES[name].write(tmp_path)
    assert errors_of(write_labels(labelled(tmp_path), tmp_path / "a.rtstruct.dcm")) == []


def test_real_livers_and_spines(shared_data, tmp_path):
    folder = shared_data / "dicom_seg_rtstruct/dcmqi"
    truth, scan = read_labels(folder / "liver_spine_seg.nrrd"), read_scan(folder / "ct-3slice")
    assert truth.grid.same_as(scan.grid)
    labels = LabelMap(truth.values, scan.grid, truth.table, scan.provenance)
    path = write_labels(labels, tmp_path / "a.rtstruct.dcm")
    assert errors_of(path) == []
    for file in scan.provenance.files:
        (tmp_path / file.name).symlink_to(file)
    assert np.array_equal(read_labels(path).values, truth.values)


@pytest.mark.parametrize(
    "folder",
    [
        "dicom2nifti_tests/failing/gantrytilting/001",
        "dicom_vendor_qa/mr_enhanced_philips_fieldmap/In",
        "hippocampus_dicom_crops/Study1",
    ],
)
def test_real_tilted_and_multiframe_series(shared_data, tmp_path, folder):
    for stack in list_stacks(shared_data / folder):
        scan = read_stack(stack)
        grain = [max(1, n // 12) for n in scan.grid.shape]
        counts = [-(-n // size) for n, size in zip(scan.grid.shape, grain, strict=True)]
        drawn = np.random.default_rng(0).choice([0, 2, 7], counts)
        values = np.kron(drawn, np.ones(grain))[tuple(map(slice, scan.grid.shape))]
        labels = LabelMap(values.astype(np.uint8), scan.grid, TABLE, scan.provenance)
        path = write_labels(labels, tmp_path / "a.rtstruct.dcm")
        assert np.array_equal(read_labels_on(path, scan=scan).values, labels.values)
        assert errors_of(path) == []


def test_labels_that_are_not_of_dicom(tmp_path):
    plain = LabelMap(np.full((2, 3, 4), 2, np.uint8), Grid((2, 3, 4), np.eye(4)), TABLE)
    with pytest.raises(WriteError, match=r"\.nii\.gz") as caught:
        write_labels(plain, tmp_path / "a.rtstruct.dcm")
    assert caught.value.code == "NO_DICOM_SOURCE"
    assert not list(tmp_path.iterdir())


def test_nothing_is_said_about_the_patient(tmp_path, capfd, caplog, recwarn):
    Series(random_stored(), tags={"PatientName": "CANARY"}).write(tmp_path)
    caplog.set_level("DEBUG")
    write_labels(labelled(tmp_path), tmp_path / "a.rtstruct.dcm")
    warned = "".join(str(one.message) for one in recwarn)
    assert "CANARY" not in warned + caplog.text + "".join(capfd.readouterr())
