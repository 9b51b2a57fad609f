"""The search of an archive: all scans, from headers, under names that say nothing of patients."""

from __future__ import annotations

import os
import threading
import zipfile
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicom_phantom import CANARY, Series, random_stored, save
from medseg.discovery import find_scans
from medseg.errors import ReadError
from medseg.reading.dicom.series import list_stacks
from medseg.volume import Grid, Scan
from medseg.writing import write_scan
from medseg_pipelines.batch.archive.search import read_archived_scan, search
from mutations import MUTATIONS


def put(path, shape=(2, 3, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_scan(Scan(np.zeros((1, *shape), np.int16), Grid(shape, np.eye(4))), path)


def series(seed=0, slices=4, **changes):
    return Series(random_stored((slices, 5, 6), seed), **changes)


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


@pytest.fixture
def mixed(tmp_path):
    """Nested, flat, split over folders, zipped, and other formats; the series by name."""
    root = tmp_path / "root"
    made = {
        name: series(seed) for seed, name in enumerate(("nested", "split", "one", "two", "zip"))
    }
    made["nested"].write(root / "a" / "b" / "c")
    for n, path in enumerate(made["split"].write(root / "split" / "x")):
        if n % 2:
            (root / "split" / "y").mkdir(exist_ok=True)
            path.rename(root / "split" / "y" / path.name)
    for name in ("one", "two"):
        made[name].write(root / "flat", prefix=name)
    made["zip"].write(tmp_path / "aside")
    zipped(tmp_path / "aside", root / "export.zip")
    put(root / "brain.nii.gz")
    put(root / "flat" / "label.nrrd", (5, 6, 7))
    (root / "notes.txt").write_text("nothing")
    (root / ".hidden.nii").write_bytes(b"nothing")
    return root, made


def test_every_scan_is_found_and_read_as_it_is(mixed, tmp_path):
    root, made = mixed
    found = search(root, tmp_path / "index")
    by_uid = {one.series: one for one in found if one.series}
    assert set(by_uid) == {one.uid for one in made.values()}
    for one in made.values():
        assert np.array_equal(read_archived_scan(by_uid[one.uid]).voxels[0], one.values())
    others = {one.path: one.facts["slices"] for one in found if not one.series}
    assert others == {str(root / "brain.nii.gz"): 4, str(root / "flat" / "label.nrrd"): 7}
    assert not [one for one in found if one.fault]
    keys = [(one.path, one.series) for one in found]
    assert keys == sorted(keys)


def test_names_are_safe_and_unique(mixed, tmp_path):
    found = search(mixed[0], tmp_path / "index")
    folders = [one.folder for one in found]
    assert len(set(folders)) == len({one.key for one in found}) == len(found)
    for folder in folders:
        assert all(part.replace("-", "").isalnum() for part in folder.split("/"))
        assert folder.startswith(("patient-", "files/file-"))


def test_the_same_scans_are_found_as_by_find_scans(mixed, tmp_path):
    root, _ = mixed
    listed = {(str(one.path), one.series_uid) for one in find_scans(root)}
    assert {(one.path, one.series) for one in search(root, None)} == listed


def test_facts_are_told(tmp_path):
    tags = {
        "BodyPartExamined": "CHEST",
        "ConvolutionKernel": ["Br40d", "3"],
        "StudyDate": "20210304",
        "Manufacturer": "SIEMENS",
        "MagneticFieldStrength": "1.5",
    }
    series(tags=tags).write(tmp_path / "s")
    (one,) = search(tmp_path / "s", None)
    expected = {
        "Modality": "CT",
        "BodyPartExamined": "CHEST",
        "ConvolutionKernel": "Br40d 3",
        "StudyYear": 2021,
        "Manufacturer": "SIEMENS",
        "MagneticFieldStrength": 1.5,
        "SliceThickness": 9,
        "PixelSpacing": [0.7, 0.4],
        "spacing_mm": [0.4, 0.7, 2.5],
        "Rows": 5,
        "Columns": 6,
        "slices": 4,
        "files": 4,
        "orientation": "LPS",
        "plane": "axial",
        "tilt_degrees": 0.0,
        "TransferSyntax": "Explicit VR Little Endian",
        "format": "dicom",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesNumber": 3,
    }
    assert {key: one.facts[key] for key in expected} == expected
    assert one.files == 4
    assert one.bytes == sum(path.stat().st_size for path in (tmp_path / "s").iterdir())


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        ((1, 0, 0, 0, 1, 0), "axial"),
        ((1, 0, 0, 0, 0, -1), "coronal"),
        ((0, 1, 0, 0, 0, -1), "sagittal"),
        ((1, 0, 0, 0, 0.8, 0.6), "oblique"),
        ((0.8, 0.6, 0, -0.6, 0.8, 0), "axial"),
    ],
)
def test_the_plane_is_that_of_the_slices(tmp_path, orientation, plane):
    series(orientation=np.array(orientation, float)).write(tmp_path / "s")
    assert search(tmp_path / "s", None)[0].facts["plane"] == plane


def test_no_patient_text_comes_out(tmp_path):
    tags = {"PatientID": "CANARY17", "ProtocolName": "CANARY protocol", "PatientAge": "042Y"}
    series(slices=9, tags=tags).write(tmp_path / "root" / "s", skip=(2,))
    torn = tmp_path / "root" / "t"
    torn.mkdir()
    (torn / "CANARY.dcm").write_bytes(bytes(128) + b"DICM" + bytes(5))
    told = []
    found = search(
        tmp_path / "root", tmp_path / "index", progress=lambda *words: told.append(words)
    )
    assert {one.fault.code for one in found} == {"MISSING_SLICE", "DAMAGED"}
    stacks = [one for one in found if one.series]
    assert b"CANARY" not in msgspec.json.encode([stacks, [one.fault for one in found], told])
    for file in tmp_path.glob("index*"):
        kept = file.read_bytes().replace(b"CANARY.dcm", b"")  # paths are known, and nothing else
        assert CANARY.encode() not in kept
        assert b"CANARY" not in kept


def test_patients_share_a_folder_that_is_no_digest_of_their_number(tmp_path):
    root = tmp_path / "root"
    for name, patient in (("a", "17"), ("b", "17"), ("c", "18"), ("d", ""), ("e", "")):
        series(tags={"PatientID": patient}).write(root / name)
    first = dict(zip("abcde", search(root, tmp_path / "i"), strict=True))
    patients = {name: one.folder.split("/")[0] for name, one in first.items()}
    assert patients["a"] == patients["b"]
    assert len(set(patients.values())) == 4
    for path in root.rglob("*"):
        if path.is_file():  # the same studies, another number
            ds = dcmread(path)
            ds.PatientID = ds.PatientID.replace("17", "99")
            save(ds, path)
    again = search(root, None)
    assert [one.folder for one in again] == [one.folder for one in first.values()]


def test_a_patient_keeps_the_folder_when_studies_are_added(tmp_path):
    root, index = tmp_path / "root", tmp_path / "index"
    series(tags={"PatientID": "17"}, study="1.9").write(root / "a")
    (before,) = search(root, index)
    for n in range(6):
        series(n, tags={"PatientID": "17"}, study=f"1.{n}").write(root / f"b{n}")
    after = search(root, index)
    assert {one.folder.split("/")[0] for one in after} == {before.folder.split("/")[0]}
    assert before in after


def test_two_stacks_of_a_series_are_two_scans(tmp_path):
    root, index = tmp_path / "root", tmp_path / "index"
    ct = series()
    ct.write(root)
    (alone,) = search(root, index)
    scout = replace(
        ct, stored=random_stored((1, 9, 8)), orientation=np.array([1.0, 0, 0, 0, 0, -1])
    )
    save(scout.slice(0), root / "0scout")
    both = search(root, index)
    assert len({one.folder for one in both}) == len({one.lineage for one in both}) == 2
    (same,) = [one for one in both if one.facts["slices"] == 4]
    assert (same.key, same.lineage, same.folder) == (alone.key, alone.lineage, alone.folder)
    assert read_archived_scan(same).grid.shape == (6, 5, 4)


def test_a_late_slice_makes_another_key_of_the_same_lineage(tmp_path):
    root, index = tmp_path / "root", tmp_path / "index"
    ct = series()
    ct.write(root, skip=(3,))
    (early,) = search(root, index)
    save(ct.slice(3), root / "late")
    (late,) = search(root, index)
    assert (late.lineage, late.folder) == (early.lineage, early.folder)
    assert late.key != early.key
    assert late.signature != early.signature
    assert late.files == late.facts["slices"] == 4


def test_a_moved_series_keeps_its_key(tmp_path):
    root, index = tmp_path / "root", tmp_path / "index"
    series().write(root / "here")
    (before,) = search(root, index)
    (root / "here").rename(root / "there")
    (after,) = search(root, index)
    assert (after.key, after.folder) == (before.key, before.folder)
    assert after.path != before.path
    assert after.signature != before.signature


def test_a_touched_file_changes_the_signature_only(tmp_path):
    root, index = tmp_path / "root", tmp_path / "index"
    paths = series().write(root / "a")
    series(1).write(root / "b")
    before = search(root, index)
    os.utime(paths[1], ns=(0, 1_600_000_000_000_000_000))
    after = search(root, index)
    assert after[1] == before[1]
    assert after[0].signature != before[0].signature
    assert replace_signature(after[0], before[0]) == before[0]


def replace_signature(one, other):
    return msgspec.structs.replace(one, signature=other.signature)


def test_the_same_instances_are_one_scan_and_read_from_files(tmp_path):
    root = tmp_path / "root"
    ct = series()
    paths = ct.write(root / "b")
    zipped(root / "b", root / "a.zip")
    (root / "c").mkdir()
    for path in paths:
        (root / "c" / path.name).write_bytes(path.read_bytes())
    (one,) = search(root, None)
    assert one.facts["copies"] == 4  # those of the second folder
    assert one.path == str(root)
    assert "2 times" in one.notes[-1]
    assert np.array_equal(read_archived_scan(one).voxels[0], ct.values())


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_what_headers_refuse_is_told_before_reading(tmp_path, mutation):
    mutation.write(tmp_path)
    found = search(tmp_path, None, pictures=True)
    codes = [one.fault.code if one.fault else "" for one in found]
    expected = ["TRUNCATED"] if mutation.code == "TRUNCATED" else list(mutation.stacks)
    assert sorted(codes) == sorted(expected)
    for one in found:
        assert one.fault or read_archived_scan(one).grid


def test_scans_beside_others_are_read_from_their_own_files(tmp_path):
    made = [series(seed) for seed in range(2)]
    for n, one in enumerate(made):
        one.write(tmp_path, prefix=str(n))
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(bytes(128) + b"DICM" + bytes(5))
    found = search(tmp_path, None)
    good = [one for one in found if not one.fault]
    assert [one.path for one in found if one.fault] == [str(torn)]
    assert all("may be one of its slices" in one.notes[-1] for one in good)
    for one in good:
        (own,) = [ct for ct in made if ct.uid == one.series]
        assert np.array_equal(read_archived_scan(one).voxels[0], own.values())
    listed = list_stacks(tmp_path)
    assert all("may be one of its slices" in stack.notes[-1] for stack in listed)
    assert not any(stack.refusal for stack in listed)


def test_series_without_a_uid_are_kept_apart_by_folder(tmp_path):
    for n in range(2):
        series(n, uid="").write(tmp_path / f"s{n}")
    found = search(tmp_path, None)
    assert len({one.key for one in found}) == len({one.folder for one in found}) == 2
    assert [read_archived_scan(one).grid.shape for one in found] == [(6, 5, 4)] * 2


def test_pictures_are_found_when_asked_for(tmp_path):
    import SimpleITK

    picture = SimpleITK.GetImageFromArray(np.full((4, 5), 7, np.uint8))
    SimpleITK.WriteImage(picture, str(tmp_path / "a.png"))
    index = tmp_path.parent / f"{tmp_path.name}.index"
    assert search(tmp_path, index) == []
    (one,) = search(tmp_path, index, pictures=True)
    assert one.facts == {"format": "picture"}


def test_one_file_is_an_archive(tmp_path):
    put(tmp_path / "one.nii.gz")
    put(tmp_path / "two.nii.gz")
    (one,) = search(tmp_path / "one.nii.gz", None)
    assert one.path == str(tmp_path / "one.nii.gz")
    paths = series().write(tmp_path / "s")
    (slice_,) = search(paths[0], None)
    assert slice_.facts["slices"] == 1
    assert slice_.names == (paths[0].name,)


def test_voxels_beside_a_metaimage_header_belong_to_it(tmp_path):
    import SimpleITK

    root, index = tmp_path / "root", tmp_path / "index"
    root.mkdir()
    SimpleITK.WriteImage(SimpleITK.Image([4, 5, 6], SimpleITK.sitkInt16), str(root / "a.mhd"))
    (before,) = search(root, index)
    assert (before.path, before.files) == (str(root / "a.mhd"), 2)
    os.utime(root / "a.raw", ns=(0, 1_600_000_000_000_000_000))
    (after,) = search(root, index)
    assert after.signature != before.signature


def test_results_inside_of_the_archive_are_not_found(tmp_path):
    put(tmp_path / "scan.nii.gz")
    put(tmp_path / "out" / "files" / "file-1" / "labels.nii.gz")
    (tmp_path / "out" / ".medseg").mkdir()
    found = search(tmp_path, tmp_path / "out" / ".medseg" / "index.sqlite")
    assert [one.path for one in found] == [str(tmp_path / "scan.nii.gz")]


def test_an_output_is_no_archive(tmp_path):
    (tmp_path / ".medseg").mkdir()
    with pytest.raises(ReadError, match="holds results") as caught:
        search(tmp_path, tmp_path / ".medseg" / "index.sqlite")
    assert caught.value.code == "IS_OUTPUT"


def test_nothing_there(tmp_path):
    with pytest.raises(ReadError, match="nowhere"):
        search(tmp_path / "nowhere", None)


def test_searches_at_once_agree(mixed, tmp_path):
    root, _ = mixed
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(search(root, tmp_path / "index")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1] == results[2] == search(root, None)


def test_uids_of_another_archive_do_not_matter_to_a_series(tmp_path):
    """Two archives that hold the same instances name them alike."""
    ct = series(uid=generate_uid())
    slices = [ct.slice(k) for k in range(4)]
    for root, names in (("x", "abcd"), ("y", "dcba")):
        (tmp_path / root).mkdir()
        for name, ds in zip(names, slices, strict=True):
            save(ds, tmp_path / root / name)
    (x,), (y,) = search(tmp_path / "x", None), search(tmp_path / "y", None)
    assert (x.key, x.folder) == (y.key, y.folder)
