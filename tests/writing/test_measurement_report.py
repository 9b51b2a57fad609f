"""TID 1500 reports: the volumes, of the segments of the SEG of the same labels."""

from __future__ import annotations

import shutil
import subprocess

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_phantom import CANARY, Series, random_stored
from medseg.errors import WriteError
from medseg.reading import read_scan
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable
from medseg.writing import write_labels
from writing.dicom_validator import errors_of

TABLE = LabelTable(
    (
        Label(value=2, name="liver", color=(200, 30, 20), code=Code("10200004", "SCT", "Liver")),
        Label(value=7, name="cyst", color=(20, 200, 30)),
        Label(value=9, name="absent", color=(20, 200, 30)),
    )
)


@pytest.fixture
def labels(tmp_path):
    Series(random_stored(), step_mm=np.array([0, 1.3, 3.9])).write(tmp_path / "ct")
    scan = read_scan(tmp_path / "ct")
    values = np.random.default_rng(0).choice([0, 2, 2, 7], scan.grid.shape).astype(np.uint8)
    return LabelMap(values, scan.grid, TABLE, scan.provenance)


def groups_of(path):
    report = highdicom.sr.srread(path)
    return report, report.content.get_volumetric_roi_measurement_groups()


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
def test_highdicom_reads_the_volumes_of_the_segments(tmp_path, labels, encoding):
    seg = pydicom.dcmread(write_labels(labels, tmp_path / "a.dcm", encoding=encoding))
    report, groups = groups_of(write_labels(labels, tmp_path / "a.sr.dcm", encoding=encoding))
    assert report.StudyInstanceUID == seg.StudyInstanceUID
    assert report.PatientName == CANARY
    assert len(groups) == 2
    segments = [one for one in seg.SegmentSequence if one.SegmentNumber]
    for group, segment, value in zip(groups, segments, (2, 7), strict=True):
        reference = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == seg.SOPClassUID
        assert reference.ReferencedSegmentNumber == segment.SegmentNumber
        assert group.tracking_uid == segment.TrackingUID
        (measurement,) = group.get_measurements()
        # a voxel of 0.4 x 0.7 mm, 3.9 mm from slice to slice: the tilt does not change its volume
        expected = (labels.values == value).sum() * 0.4 * 0.7 * 3.9 / 1000
        assert measurement.value == pytest.approx(expected, abs=1e-5)
        assert measurement.unit.value == "ml"
    assert groups[0].finding_type.value == "10200004"


def test_evidence_names_the_source_and_the_segmentation(tmp_path, labels):
    report = pydicom.dcmread(write_labels(labels, tmp_path / "a.sr.dcm"))
    uids = {
        image.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    seg = pydicom.dcmread(write_labels(labels, tmp_path / "a.dcm"))
    assert seg.SOPInstanceUID in uids


def test_dciodvfy_finds_no_error(tmp_path, labels):
    assert errors_of(write_labels(labels, tmp_path / "a.sr.dcm")) == []


def test_dsrdump_reads_it(tmp_path, labels):
    program = shutil.which("dsrdump")
    if program is None:
        pytest.skip("dsrdump (package dcmtk) is not installed")
    path = write_labels(labels, tmp_path / "a.sr.dcm")
    done = subprocess.run([program, path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Volume") >= 2


def test_labels_that_are_not_of_dicom(tmp_path):
    plain = LabelMap(np.full((2, 3, 4), 2, np.uint8), Grid((2, 3, 4), np.eye(4)), TABLE)
    with pytest.raises(WriteError, match="DICOM") as caught:
        write_labels(plain, tmp_path / "a.sr.dcm")
    assert caught.value.code == "NO_DICOM_SOURCE"
    assert not list(tmp_path.iterdir())


def test_nothing_is_said_about_the_patient(tmp_path, labels, capfd, caplog, recwarn):
    caplog.set_level("DEBUG")
    write_labels(labels, tmp_path / "a.sr.dcm")
    warned = "".join(str(one.message) for one in recwarn)
    assert "CANARY" not in warned + caplog.text + "".join(capfd.readouterr())
