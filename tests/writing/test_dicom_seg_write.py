"""DICOM SEG on the source slices: places, references, names, and the same object every time."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_phantom import CANARY, Series, random_stored, rotation, save
from medseg.errors import WriteError
from medseg.reading import read_labels, read_scan
from medseg.reading.dicom.series import list_stacks, read_stack
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable
from medseg.writing import write_labels

TABLE = LabelTable(
    (
        Label(value=2, name="liver", color=(200, 30, 20), code=Code("10200004", "SCT", "Liver")),
        Label(value=7, name="cyst", color=(20, 200, 30)),
    )
)

TURN = rotation((0.9, 0.2, -0.3, 0.1))
SERIES = {
    "axial": Series(random_stored()),
    "oblique": Series(random_stored(), orientation=TURN[:, :2].T.ravel()),
    "tilted": Series(random_stored(), step_mm=np.array([0, 1.3, 3.9])),
    "two tilted slices": Series(random_stored((2, 9, 7)), step_mm=np.array([0, 1.3, 3.9])),
    "one slice": Series(random_stored((1, 9, 7))),
}


def labelled(scan, seed=0, table=TABLE):
    values = np.random.default_rng(seed).choice([0, 0, 2, 7], scan.grid.shape).astype(np.uint8)
    return LabelMap(values, scan.grid, table, scan.provenance)


@pytest.fixture
def labels(tmp_path):
    SERIES["axial"].write(tmp_path / "ct")
    return labelled(read_scan(tmp_path / "ct"))


@pytest.mark.parametrize("name", SERIES)
def test_round_trip(tmp_path, name):
    SERIES[name].write(tmp_path / "ct")
    labels = labelled(read_scan(tmp_path / "ct"))
    back = read_labels(write_labels(labels, tmp_path / "a.dcm"))
    assert np.array_equal(back.values, labels.values)
    if name != "one slice":  # a SEG's single frame has its thickness as its depth
        assert back.grid.same_as(labels.grid, tolerance_mm=1e-3)
    assert [(one.value, one.name, one.code) for one in back.table] == [
        (one.value, one.name, one.code) for one in TABLE
    ]
    colours = np.array([[one.color for one in table] for table in (back.table, TABLE)])
    assert np.abs(np.diff(colours, axis=0)).max() <= 2


@pytest.mark.parametrize("name", ["axial", "tilted"])
def test_highdicom_finds_each_label_on_its_source_slice(tmp_path, name):
    SERIES[name].write(tmp_path / "ct")
    labels = labelled(read_scan(tmp_path / "ct"))
    path = write_labels(labels, tmp_path / "a.dcm")
    frames = highdicom.seg.segread(path).get_pixels_by_source_instance(
        source_sop_instance_uids=labels.provenance.instance_uids,
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    truth = np.select([labels.values == 2, labels.values == 7], [1, 2]).transpose(2, 1, 0)
    assert np.array_equal(frames, truth)


def test_positions_are_copied_word_by_word(tmp_path, labels):
    dataset = pydicom.dcmread(write_labels(labels, tmp_path / "a.dcm"))
    sources = [pydicom.dcmread(path) for path in labels.provenance.files]
    words = {str(list(one.ImagePositionPatient)) for one in sources}
    frames = dataset.PerFrameFunctionalGroupsSequence
    assert {str(list(f.PlanePositionSequence[0].ImagePositionPatient)) for f in frames} == words
    assert len(frames) == 2 * len(sources)  # empty frames are written too
    assert dataset.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert dataset.StudyInstanceUID == sources[0].StudyInstanceUID
    assert dataset.SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert dataset.PatientName == CANARY
    assert dataset.SeriesDescription == "Segmentation"


def test_the_same_result_is_the_same_object(tmp_path, labels):
    def uids(path):
        ds = pydicom.dcmread(path)
        return ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.SegmentSequence[0].TrackingUID

    first = uids(write_labels(labels, tmp_path / "a.dcm"))
    assert uids(write_labels(labels, tmp_path / "b.dcm")) == first
    other = LabelMap(labels.values[::-1], labels.grid, TABLE, labels.provenance)
    assert not set(uids(write_labels(other, tmp_path / "c.dcm"))) & set(first)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in first)


def test_an_empty_map_is_a_result(tmp_path, labels):
    empty = LabelMap(np.zeros_like(labels.values), labels.grid, TABLE, labels.provenance)
    back = read_labels(write_labels(empty, tmp_path / "a.dcm"))
    assert not back.values.any()
    assert back.table.names == ("liver", "cyst")


def test_names_beyond_the_source_character_set(tmp_path):
    SERIES["axial"].write(tmp_path / "ct")
    table = LabelTable((Label(value=2, name="größte Läsion", color=(1, 2, 3)), TABLE.labels[1]))
    labels = labelled(read_scan(tmp_path / "ct"), table=table)
    path = write_labels(labels, tmp_path / "a.dcm")
    assert read_labels(path).table.names == ("größte Läsion", "cyst")
    assert pydicom.dcmread(path).PatientName == CANARY


@pytest.mark.parametrize(
    ("charset", "patient"),
    [
        ("ISO_IR 100", "Müller^Änne"),
        ("ISO_IR 192", "Łuczak^Ożóg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("", "Plain^Name"),
    ],
)
def test_patient_names_survive_in_any_character_set(tmp_path, charset, patient):
    series = SERIES["axial"]
    for k, path in enumerate(series.write(tmp_path / "ct")):
        ds = series.slice(k)
        ds.SpecificCharacterSet, ds.PatientName = charset, patient
        save(ds, path)
    path = write_labels(labelled(read_scan(tmp_path / "ct")), tmp_path / "a.dcm")
    back = pydicom.dcmread(path)
    kept = "ISO_IR 192" if isinstance(charset, list) else charset
    assert (back.get("SpecificCharacterSet") or "") == kept
    assert str(back.PatientName) == patient


def test_missing_fields_are_filled_in_without_touching_the_source(tmp_path):
    series = SERIES["axial"]
    absent = ("PatientBirthDate", "StudyID", "FrameOfReferenceUID", "SliceThickness", "StudyDate")
    paths = series.write(tmp_path / "ct")
    for k, path in enumerate(paths):
        ds = series.slice(k)
        for keyword in absent:
            delattr(ds, keyword)
        save(ds, path)
    before = [path.read_bytes() for path in paths]
    labels = labelled(read_scan(tmp_path / "ct"))
    back = read_labels(write_labels(labels, tmp_path / "a.dcm"))
    assert np.array_equal(back.values, labels.values)
    assert [path.read_bytes() for path in paths] == before


def test_nothing_is_printed_about_the_patient(tmp_path, capfd, caplog, recwarn):
    """A name of one word makes highdicom warn, and quote it."""
    Series(random_stored(), tags={"PatientName": "CANARY"}).write(tmp_path / "ct")
    caplog.set_level("DEBUG")
    write_labels(labelled(read_scan(tmp_path / "ct")), tmp_path / "a.dcm")
    warned = "".join(str(one.message) for one in recwarn)
    assert "CANARY" not in warned + caplog.text + "".join(capfd.readouterr())


def refused(labels, path):
    with pytest.raises(WriteError, match=r"\.nii\.gz") as caught:
        write_labels(labels, path)
    assert not path.exists()
    return caught.value.code


def test_labels_not_from_dicom(tmp_path):
    plain = LabelMap(np.ones((2, 3, 4), np.uint8), Grid((2, 3, 4), np.eye(4)), TABLE_ONE)
    assert refused(plain, tmp_path / "a.dcm") == "NO_DICOM_SOURCE"


TABLE_ONE = LabelTable.of({1: "liver"})


def test_source_that_is_gone_or_changed(tmp_path, labels):
    path = labels.provenance.files[2]
    save(SERIES["axial"].slice(2), path)  # a new SOPInstanceUID
    assert refused(labels, tmp_path / "a.dcm") == "SOURCE_CHANGED"
    path.unlink()
    assert refused(labels, tmp_path / "a.dcm") == "SOURCE_MISSING"


def test_blank_uids(tmp_path):
    series = SERIES["axial"]
    for k, path in enumerate(series.write(tmp_path / "ct")):
        ds = series.slice(k)
        ds.SOPInstanceUID = ""
        ds.save_as(path, enforce_file_format=False)
    labels = labelled(read_scan(tmp_path / "ct"))
    assert refused(labels, tmp_path / "a.dcm") == "BLANK_UIDS"


@pytest.mark.parametrize(
    "folder",
    [
        "dicom2nifti_tests/failing/gantrytilting/001",
        "dicom2nifti_tests/siemens_multiframe/anatomical/001",
        "dicom_vendor_qa/mr_enhanced_philips_fieldmap/In",
        "dicom_vendor_qa/mr_agfa_private_tags/Agfa",
        "hippocampus_dicom_crops/Study1",
        "dicom_seg_rtstruct/dcmqi/ct-3slice",
    ],
)
def test_round_trip_on_real_series(shared_data, tmp_path, folder):
    for stack in list_stacks(shared_data / folder):
        labels = labelled(read_stack(stack))
        back = read_labels(write_labels(labels, tmp_path / "a.dcm"))
        assert np.array_equal(back.values, labels.values)
        assert back.grid.same_as(labels.grid)
