"""A study as a person chooses from it: descriptions, windows, time points that belong together."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from dicom_phantom import CANARY, Series, random_stored
from medseg.discovery.series_list import DisplayWindow, list_series, read_volumes, window_of
from medseg.errors import Cancelled, ReadError, SelectionError
from medseg.reading import read_scan


def time_series(folder, times=3, **tags):
    """One series with `times` images at each position; returns what each volume holds."""
    uid, frame, values = "1.2.826.0.1.7", "1.2.826.0.1.8", []
    for number in range(times):
        marks = {"TemporalPositionIdentifier": number + 1, **tags}
        stored = random_stored() + number
        series = Series(stored, uid=uid, frame_of_reference=frame, tags=marks)
        series.write(folder, prefix=f"t{number}-")
        values.append(series.values())
    return values


def test_a_series_is_told_by_what_its_header_says(tmp_path):
    tags = {"SeriesDescription": "  thorax \n lung ", "WindowCenter": -600, "WindowWidth": 1500}
    Series(random_stored(), tags=tags).write(tmp_path)
    (entry,) = list_series(tmp_path)
    assert entry.description == "thorax lung"
    assert entry.window == DisplayWindow(-600, 1500)
    assert entry.window.limits == (-1350, 150)
    assert entry.report.verdict.outcome == "ok"
    scan = read_scan(tmp_path)
    assert window_of(scan) == entry.window


def test_without_words_there_is_no_window_and_the_report_stays_clean(tmp_path):
    Series(random_stored()).write(tmp_path)
    (entry,) = list_series(tmp_path)
    assert entry.window is None
    assert entry.description == CANARY  # shown; but nowhere else
    assert CANARY not in repr(entry.report)
    assert window_of(read_scan(tmp_path)) is None


@pytest.mark.parametrize("width", [0, -5, "", None])
def test_a_width_that_is_none_is_no_window(tmp_path, width):
    Series(random_stored(), tags={"WindowCenter": 40, "WindowWidth": width}).write(tmp_path)
    (entry,) = list_series(tmp_path)
    assert entry.window is None


def test_time_points_of_one_place_are_one_entry(tmp_path):
    values = time_series(tmp_path / "perfusion")
    Series(random_stored()).write(tmp_path / "other")
    other, entry = list_series(tmp_path)
    assert (other.volumes, entry.volumes) == (1, 3)
    scans = read_volumes(entry.path, entry.selectors)
    assert len(scans) == 3
    for scan, expected in zip(scans, values, strict=True):
        np.testing.assert_array_equal(scan.voxels[0], expected)


def test_volumes_of_different_kinds_stay_apart(tmp_path):
    time_series(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "FIELD MAP", "MIXED"])
    assert [entry.volumes for entry in list_series(tmp_path)] == [1, 1, 1]


def test_time_points_in_an_archive(tmp_path):
    values = time_series(tmp_path / "series")
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "series")
    (entry,) = list_series(archive)
    assert entry.volumes == 3
    scans = read_volumes(entry.path, entry.selectors)
    np.testing.assert_array_equal(scans[2].voxels[0], values[2])


def test_volumes_that_are_gone_are_told(tmp_path):
    time_series(tmp_path)
    (entry,) = list_series(tmp_path)
    for path in tmp_path.glob("t2-*"):
        path.unlink()
    with pytest.raises(SelectionError, match="1 of 3 volumes"):
        read_volumes(entry.path, entry.selectors)


def test_looking_can_be_stopped_and_missing_folders_are_told(tmp_path):
    Series(random_stored()).write(tmp_path)

    def stop(done, total, words):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        list_series(tmp_path, progress=stop)
    with pytest.raises(ReadError, match="does not exist"):
        list_series(tmp_path / "nowhere")


def test_real_studies(shared_data):
    """Windows of four makers; Siemens XA10 time points, one file each; a field map kept apart."""
    found = {}
    for entry in list_series(shared_data / "dicom_vendor_qa"):
        if entry.report.format == "dicom":
            found[entry.report.name] = entry
    xa10 = next(entry for name, entry in found.items() if "xa10" in name)
    assert (xa10.volumes, xa10.report.shape) == (4, (64, 64, 6))
    assert xa10.window == DisplayWindow(625, 1361)
    assert sum("fieldmap" in name for name in found) == 2
    tilted = found["ct_ge_tilt_variable_gap_In"]
    assert (tilted.report.verdict.code, tilted.window) == ("IRREGULAR", DisplayWindow(35, 85))
    mosaics = [entry for entry in found.values() if "MOSAIC" in entry.report.image_type]
    codes = {entry.report.name: entry.report.verdict.code for entry in mosaics}
    assert codes.pop("mr_12bit_stored_In") == "DUPLICATE_UID"  # one image, signed and unsigned
    assert len(codes) == 5
    assert not any(codes.values())
    assert all(entry.window for entry in mosaics)
