import numpy as np
import pydicom
import pytest

from medseg.discovery import find_scans
from medseg.errors import InputError, SelectionError, WriteError
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import (
    PatientRecipe,
    SeriesRecipe,
    ct_grid,
    demo_patients,
    write_archive,
    write_series,
)
from medseg.reading import read_scan

GRIDS = {
    "axial": ct_grid(shape=(20, 16, 12), spacing_mm=(16.0, 15.0, 20.0)),
    "oblique": ct_grid(
        shape=(20, 16, 12),
        spacing_mm=(16.0, 15.0, 20.0),
        turn_degrees=(9, -14, 11),
        centre_mm=(7.0, -3.5, 12.25),
    ),
}


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_written_reads_back(tmp_path, name):
    scan, _ = abdominal_ct(1, GRIDS[name])
    uid = write_series(scan, tmp_path / "series", patient=1)
    again = read_scan(tmp_path / "series")
    assert np.abs(again.grid.affine - scan.grid.affine).max() < 1e-3
    assert np.array_equal(again.voxels, scan.voxels)
    assert again.modality == "CT"
    assert again.provenance.series_uid == uid
    assert len(again.provenance.files) == 12


def test_files_are_valid_ct_slices_in_no_order(tmp_path):
    scan, _ = abdominal_ct(1, GRIDS["oblique"])
    write_series(scan, tmp_path, patient=1)
    files = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    assert {one.SOPClassUID.name for one in files} == {"CT Image Storage"}
    assert len({one.SOPInstanceUID for one in files}) == len(files)
    numbers = [int(one.InstanceNumber) for one in files]
    assert sorted(numbers) == list(range(1, 13))
    assert numbers != sorted(numbers)
    assert all(one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID for one in files)
    assert all(len(text) <= 16 for one in files for text in map(str, one.ImagePositionPatient))


def test_identifiers_are_the_same_on_every_run(tmp_path):
    scan, _ = abdominal_ct(1, GRIDS["axial"])
    uids = [write_series(scan, tmp_path / name, patient=1) for name in ("a", "b")]
    assert uids[0] == uids[1]
    assert uids[0] != write_series(scan, tmp_path / "c", patient=2)
    assert uids[0].startswith("2.25.")
    assert len(uids[0]) <= 64


def test_a_study_of_two_series_and_a_scout_asks_which(tmp_path):
    series = (SeriesRecipe("one", GRIDS["axial"]), SeriesRecipe("two", GRIDS["oblique"]))
    written = write_archive(tmp_path, [PatientRecipe(4, series, scout=True)])
    assert [one.patient for one in written] == ["phantom-04"] * 2
    with pytest.raises(SelectionError):
        read_scan(tmp_path / "phantom-04")
    for one in written:
        scan = read_scan(one.folder, series=one.series_uid)
        assert scan.grid.same_as(one.truth.grid)
    sizes = [
        min(read_scan(source.path, series=source.series_uid).grid.shape)
        for source in find_scans(tmp_path)
    ]
    assert sorted(sizes) == [1, 12, 12]


def test_the_demo_archive_is_varied():
    patients = demo_patients(9)
    grids = [one.grid for patient in patients for one in patient.series]
    assert len({grid.spacing_mm for grid in grids}) >= 6
    assert len(patients[-1].series) == 2
    assert patients[-1].scout
    with pytest.raises(InputError, match="at least 1"):
        demo_patients(0)


def test_a_folder_that_is_a_file_is_a_write_error(tmp_path):
    (tmp_path / "taken").write_text("x")
    scan, _ = abdominal_ct(1, GRIDS["axial"])
    with pytest.raises(WriteError, match="taken"):
        write_series(scan, tmp_path / "taken", patient=1)
