"""Values of a source that only pass through: they never stop a DICOM result."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement

from dicom_phantom import Series, random_stored
from medseg.reading import read_labels, read_scan
from medseg.volume import LabelMap, LabelTable
from medseg.writing import dicom_seg, measurement_report, rtstruct

ODD = {
    b"StudyTime": (b"\x08\0\x30\0TM", b"08:09:10"),
    b"PatientBirthDate": (b"\x10\0\x30\0DA", b"not told"),
    b"PatientSex": (b"\x10\0\x40\0CS", b"neither "),
}


def test_odd_dates_times_and_words(tmp_path):
    tags = {"StudyTime": "", "PatientBirthDate": "", "PatientSex": ""}
    series = Series(random_stored((3, 9, 7)), tags=tags)
    for path in series.write(tmp_path / "ct"):
        raw = path.read_bytes()
        for tag, value in ODD.values():
            at = raw.index(tag)
            raw = raw[: at + 6] + len(value).to_bytes(2, "little") + value + raw[at + 8 :]
        path.write_bytes(raw)
    scan = read_scan(tmp_path / "ct")
    values = np.zeros(scan.grid.shape, np.uint8)
    values[2:5, 3:6, 1] = 1
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "liver"}), scan.provenance)
    for part in (dicom_seg, measurement_report):
        part.write_labels(labels, tmp_path / "out.dcm")
        written = pydicom.dcmread(tmp_path / "out.dcm")
        assert written.StudyTime == "080910"
        assert not written.PatientBirthDate
        assert not written.PatientSex
        (tmp_path / "out.dcm").rename(tmp_path / f"{part.__name__}.dcm")
    read = read_labels(tmp_path / f"{dicom_seg.__name__}.dcm", like=scan)
    assert np.array_equal(read.values, values)


@pytest.mark.parametrize("charset", ["ISO_IR 999", "latin1", "ISO_IR 6", "ISO 2022 IR 87"])
def test_odd_character_sets(tmp_path, charset):
    tags = {"SpecificCharacterSet": charset, "PatientName": "Doe^Jane"}
    Series(random_stored((3, 9, 7)), tags=tags).write(tmp_path / "ct")
    scan = read_scan(tmp_path / "ct")
    values = np.zeros(scan.grid.shape, np.uint8)
    values[2:5, 3:6, 1] = 1
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "liver"}), scan.provenance)
    for part in (dicom_seg, measurement_report, rtstruct):
        part.write_labels(labels, tmp_path / "out.dcm")
        assert pydicom.dcmread(tmp_path / "out.dcm").PatientName == "Doe^Jane"


def test_fields_that_are_no_numbers(tmp_path):
    """They were read by another field, or another program has spoilt them since."""
    paths = Series(random_stored((3, 9, 7))).write(tmp_path / "ct")
    scan = read_scan(tmp_path / "ct")
    values = np.zeros(scan.grid.shape, np.uint8)
    values[2:5, 3:6, 1] = 1
    labels = LabelMap(values, scan.grid, LabelTable.of({1: "liver"}), scan.provenance)
    odd = {
        "PixelSpacing": b"0,7\\0,4 ",
        "ImagePositionPatient": b"1,5\\2,5\\-3 ",
        "ImageOrientationPatient": b"1,0\\0\\0\\0\\1\\0 ",
        "SliceThickness": b"thin",
        "SpacingBetweenSlices": b"x ",
    }
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in odd.items():
            tag = pydicom.tag.Tag(keyword)
            dataset[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
        dataset.save_as(path)
    dicom_seg.write_labels(labels, tmp_path / "out.dcm")
    read = read_labels(tmp_path / "out.dcm", like=scan)
    assert np.array_equal(read.values, values)
