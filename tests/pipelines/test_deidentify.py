"""De-identified results: checked against another project's copy of DICOM's table of elements."""

from __future__ import annotations

import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from dicomanonymizer.simpledicomanonymizer import initialize_actions
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement

from dicom_phantom import Series, random_stored
from medseg.errors import WriteError
from medseg.reading import read_labels, read_scan
from medseg.volume import LabelMap, LabelTable
from medseg.writing import write_labels
from medseg_pipelines.batch.workers.deidentify import KEY_FILE, deidentify_results, pseudonyms
from writing.dicom_validator import errors_of

TOKEN = "ZZCANARYZZ"
NAMES = ("seg.dcm", "labels.rtstruct.dcm", "measurements.sr.dcm")
WRITTEN_BY_US = {
    "ContentSequence",
    "ROIName",
    "SeriesDescription",
    "StructureSetDescription",
    "StructureSetLabel",
    "StructureSetName",
}
"""Elements of DICOM's table that stay: medseg wrote their text (Clean Descriptors option)."""
PATIENT = {
    "PatientName": f"{TOKEN}^Anna",
    "PatientID": TOKEN,
    "PatientBirthDate": "19510203",
    "PatientSex": "F",
    "StudyDate": "20190405",
    "StudyTime": "111213",
    "StudyID": TOKEN,
    "AccessionNumber": TOKEN,
    "ReferringPhysicianName": TOKEN,
    "StudyDescription": TOKEN,
    "InstitutionName": TOKEN,
    "StationName": TOKEN,
    "DeviceSerialNumber": TOKEN,
    "PatientComments": TOKEN,
    "OperatorsName": TOKEN,
    "Manufacturer": TOKEN,
    "PositionReferenceIndicator": TOKEN,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two results of one study, of three formats each."""
    folder = tmp_path_factory.mktemp("results")
    study = {}
    for number, name in enumerate("ab"):
        series = Series(random_stored(seed=number), tags=PATIENT, **study)
        study = {"study": series.study, "frame_of_reference": series.frame_of_reference}
        series.write(folder / "source" / name)
        scan = read_scan(folder / "source" / name)
        values = (np.random.default_rng(number).random(scan.grid.shape) > 0.5).astype(np.uint8)
        labels = LabelMap(values, scan.grid, LabelTable.of({1: "spot"}), scan.provenance)
        (folder / "out" / name).mkdir(parents=True)
        for file in NAMES:
            write_labels(labels, folder / "out" / name / file)
    return folder / "out"


@pytest.fixture
def output(results, tmp_path):
    """The output of a batch with them."""
    folder = shutil.copytree(results, tmp_path / "out")
    (folder / ".medseg").mkdir()
    return folder


def uids(dataset):
    """Every UID of an object that names an instance, by keyword."""
    return {
        (element.keyword, str(one))
        for element in dataset.iterall()
        if element.VR == "UI" and not element.keyword.endswith("ClassUID")
        for one in ([element.value] if isinstance(element.value, str) else element.value)
    }


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_patient_stays_and_all_else_does(output, name):
    before, bytes_before = dcmread(output / "a" / name), (output / "a" / name).read_bytes()
    assert TOKEN.encode() in bytes_before
    deidentify_results(output / "a")
    after, raw = dcmread(output / "a" / name), (output / "a" / name).read_bytes()
    assert TOKEN.encode() not in raw
    assert b"19510203" not in raw
    assert b"20190405" not in raw
    assert not {uid for _, uid in uids(before)} & {uid for _, uid in uids(after)}
    assert len(uids(before)) == len(uids(after))
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.SOPClassUID == before.SOPClassUID
    assert after.PatientIdentityRemoved == "YES"
    codes = {item.CodeValue for item in after.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113104", "113105"}
    before.pop("ContributingEquipmentSequence", None)
    lost = {one.keyword for one in before.iterall()} - {one.keyword for one in after.iterall()}
    assert lost <= {
        "InstanceCreationDate",
        "InstanceCreationTime",
        "StudyDescription",
        "PatientComments",
    }


@pytest.mark.parametrize("name", NAMES)
def test_dciodvfy_finds_no_more_errors_than_before(output, name):
    before = errors_of(output / "a" / name)
    deidentify_results(output / "a")
    assert not set(errors_of(output / "a" / name)) - set(before)


def test_labels_and_what_refers_to_what_are_the_same(output):
    before = read_labels(output / "a" / "seg.dcm")
    deidentify_results(output)
    after = read_labels(output / "a" / "seg.dcm")
    assert np.array_equal(before.values, after.values)
    assert np.allclose(before.grid.affine, after.grid.affine)
    objects = {(folder, name): dcmread(output / folder / name) for folder in "ab" for name in NAMES}
    assert len({one.StudyInstanceUID for one in objects.values()}) == 1
    frames = {one.get("FrameOfReferenceUID") for one in objects.values()} - {None}
    assert len(frames) == 1
    assert len({one.PatientID for one in objects.values()}) == 1
    for folder in "ab":
        report, seg = objects[folder, NAMES[2]], objects[folder, NAMES[0]]
        assert ("ReferencedSOPInstanceUID", seg.SOPInstanceUID) in uids(report)
        assert ("UID", seg.SegmentSequence[0].TrackingUID) in uids(report)
    sources = [dict(uids(objects[folder, NAMES[0]])) for folder in "ab"]
    assert sources[0]["SeriesInstanceUID"] != sources[1]["SeriesInstanceUID"]


def planted(tag, vr):
    """An element that holds the token, or what stands for it in a value that has no text."""
    if vr == "SQ":
        inner = Dataset()
        inner.PatientComments = TOKEN
        return DataElement(tag, "SQ", [inner])
    if vr in {"OB", "OW", "UN", "OB or OW"}:
        return DataElement(tag, "OB", TOKEN.encode())
    values = {"DA": "19510203", "DT": "19510203", "TM": "111213", "AS": "077Y", "UI": "1.2.3.777"}
    numbers = {"DS": "777.25", "IS": "777", "US": 777, "UL": 777, "SS": 777, "SL": 777}
    real = {"FD": 777.25, "FL": 777.25}
    return DataElement(tag, vr, {**values, **numbers, **real}.get(vr, TOKEN))


def plant(dataset, tags):
    for tag in tags:
        keyword = keyword_for_tag(tag)
        if keyword not in WRITTEN_BY_US | {"SourceImageSequence", "ReferencedImageSequence"}:
            dataset[tag] = planted(tag, dictionary_VR(tag) if keyword else "LO")


@pytest.mark.parametrize("name", NAMES)
def test_every_element_of_dicoms_table_is_dealt_with_at_any_depth(output, name):
    actions = initialize_actions("dicomfields_2026c")
    tags = [tag for tag in actions if len(tag) == 2 and tag[0] > 0x0002]
    assert len(tags) > 600
    path = output / "a" / name
    dataset = dcmread(path)
    kept = {one for one in tags if keyword_for_tag(one) in WRITTEN_BY_US}
    top = {tag: dataset.get(tag) for tag in kept}
    nested = next(
        e
        for e in dataset
        if e.VR == "SQ"
        and e.keyword
        in {
            "SegmentSequence",
            "StructureSetROISequence",
            "ContentSequence",
        }
    ).value[0]
    for place in (dataset, nested):
        plant(place, [tag for tag in tags if tag not in place or dictionary_VR(tag) != "UI"])
        place.add_new(0x00211010, "LO", TOKEN)
        place.add_new(0x60000022, "LO", TOKEN)
    dataset.save_as(path)
    deidentify_results(output / "a")
    raw, after = path.read_bytes(), dcmread(path)
    assert TOKEN.encode() not in raw
    assert b"1.2.3.777" not in raw
    assert "077Y" not in str(after)
    assert "777" not in {str(e.value) for e in after if e.VR in {"US", "UL", "IS", "DS", "FD"}}
    assert not any(element.tag.is_private for element in after.iterall())
    for tag, value in top.items():
        if value is not None and keyword_for_tag(tag) != "ContentSequence":
            assert after[tag].value == value.value


def test_names_are_the_same_in_a_later_run_and_others_under_another_key(output, tmp_path):
    key = output / ".medseg" / KEY_FILE
    first = pseudonyms(key)
    assert pseudonyms(key).uid("1.2.3") == first.uid("1.2.3") != "1.2.3"
    assert first.uid("1.2.3") != pseudonyms(tmp_path / "other" / KEY_FILE).uid("1.2.3")
    assert first.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert first.uid(f"1.2.840.10008.{TOKEN}").startswith("2.25.")
    assert len(first.uid("1.2.3")) <= 64
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_workers_that_start_at_once_agree_on_one_key(tmp_path):
    together = threading.Barrier(8)

    def uid(number):
        together.wait()
        return pseudonyms(tmp_path / ".medseg" / KEY_FILE).uid("1.2.3")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(uid, range(8)))) == 1


def test_a_folder_of_no_batch_and_a_damaged_key_are_refused(tmp_path):
    with pytest.raises(WriteError, match="not in the output of a batch"):
        deidentify_results(tmp_path / "x", key_file=None)
    key = tmp_path / KEY_FILE
    key.write_bytes(b"short")
    with pytest.raises(WriteError, match="5 bytes"):
        pseudonyms(key)


def test_a_file_that_cannot_be_cleaned_stays_as_it_was(output, monkeypatch):
    path = output / "a" / "seg.dcm"
    before = path.read_bytes()
    monkeypatch.setattr(
        Dataset, "save_as", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(WriteError, match="disk is full"):
        deidentify_results(output / "a")
    assert path.read_bytes() == before
    assert {one.name for one in path.parent.iterdir()} == set(NAMES)
