"""The report says of every volume what the reader would do with it, and no patient text."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from pydicom.uid import RLELossless

from dicom_phantom import CANARY, Series, random_stored, save
from medseg.discovery.inspection import inspect
from medseg.errors import MedsegError
from medseg.reading import Policies, read_scan


def only(path, **options):
    (report,) = inspect(path, **options)
    return report


def test_a_good_series(tmp_path):
    Series(random_stored()).write(tmp_path)
    report = only(tmp_path)
    assert report.verdict.outcome == "ok"
    assert (report.shape, report.slices, report.modality) == ((7, 9, 6), 6, "CT")
    assert report.spacing_mm == pytest.approx((0.4, 0.7, 2.5))
    assert report.orientation == "LPS"
    assert report.transfer_syntax == "Explicit VR Little Endian"
    assert report.decodable
    assert CANARY.encode() not in msgspec.json.encode(report)


def test_tilt_and_copies(tmp_path):
    angle = np.radians(18.5)
    step = 4 * np.array([0, np.sin(angle), np.cos(angle)])
    paths = Series(random_stored(), step_mm=step).write(tmp_path)
    (tmp_path / "copy").write_bytes(paths[1].read_bytes())
    report = only(tmp_path)
    assert report.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert report.duplicates == 1
    assert report.verdict.outcome == "repaired"


def test_missing_and_irregular(tmp_path):
    Series(random_stored((9, 5, 4))).write(tmp_path / "gap", skip=(3,))
    series = Series(random_stored((9, 5, 4)))
    paths = series.write(tmp_path / "uneven")
    ds = series.slice(4)
    ds.ImagePositionPatient = list(np.add(series.position(4), [0, 0, 0.5]))
    save(ds, paths[4])
    gap, uneven = inspect(tmp_path)
    assert (gap.missing, gap.verdict.code) == (1, "MISSING_SLICE")
    assert uneven.irregular_mm == pytest.approx(0.5)
    assert uneven.verdict.code == "IRREGULAR"
    assert "export" in uneven.verdict.why
    asked = Policies(irregular="resample", missing="interpolate")
    repaired = inspect(tmp_path, policies=asked)
    assert [one.verdict.outcome for one in repaired] == ["repaired", "repaired"]
    assert "irregular=resample" in repaired[1].verdict.why
    assert repaired[0].shape == (4, 5, 9)


def test_phases(tmp_path):
    first = Series(random_stored(seed=1), tags={"EchoTime": 10.0})
    same = {"uid": first.uid, "frame_of_reference": first.frame_of_reference}
    first.write(tmp_path, prefix="a")
    Series(random_stored(seed=2), tags={"EchoTime": 20.0}, **same).write(tmp_path, prefix="b")
    one, two = inspect(tmp_path)
    assert [(r.volume, r.volumes) for r in (one, two)] == [(1, 2), (2, 2)]
    assert read_scan(tmp_path, series=two.series_uid).grid.shape == two.shape


def test_truncation_shows_without_reading_pixels(tmp_path):
    paths = Series(random_stored()).write(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-10])
    report = only(tmp_path)
    assert (report.decodable, report.verdict.code) == (False, "TRUNCATED")


def test_damaged_pixels_show_when_asked(tmp_path):
    series = Series(random_stored())
    two_segments = b"\2\0\0\0\x40\0\0\0"  # and where the first begins (PS3.5 G.5)
    for k in range(6):
        ds = series.slice(k)
        ds.compress(RLELossless, generate_instance_uid=False)
        whole = save(ds, tmp_path / f"{k}").read_bytes()
        assert two_segments in whole
        (tmp_path / f"{k}").write_bytes(whole.replace(two_segments, b"\2\0\0\0\xff\xff\0\0"))
    assert inspect(tmp_path)[0].verdict.outcome == "ok"
    assert inspect(tmp_path, pixels=True)[0].verdict.outcome == "refused"


def test_damaged_files_are_reported_beside_the_others(tmp_path):
    Series(random_stored()).write(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.dcm").write_bytes(bytes(128) + b"DICM" + b"rubbish" * 9)
    (tmp_path / "bad.nii").write_bytes(b"no")
    outcomes = sorted(report.verdict.outcome for report in inspect(tmp_path))
    assert outcomes == ["ok", "refused", "refused"]


def test_it_agrees_with_the_reader_on_real_series(shared_data):
    for folder in ("dicom_vendor_qa", "dicom2nifti_tests/failing", "ct_mr_organs/example_ct_dicom"):
        reports = inspect(shared_data / folder)
        assert reports
        for report in reports:
            assert report.verdict.outcome in ("ok", "repaired") or report.verdict.code


def test_a_single_file(tmp_path, shared_data):
    report = only(shared_data / "ct_mr_organs/example_ct_sm.nii.gz")
    assert (report.format, report.verdict.outcome) == ("nifti", "ok")
    with pytest.raises(MedsegError):
        inspect(tmp_path / "nowhere")
