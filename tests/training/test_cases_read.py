"""Cases of every layout are read: scan, truth, names, patients and folds."""

import re

import numpy as np
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import InputError, LabelError, SelectionError
from medseg.reading import read_scan
from medseg.training import open_dataset
from medseg.training.dataset_check import check_dataset
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.writing import write_labels, write_scan

GRID = Grid((8, 7, 6), np.diag([1.0, 1, 2, 1]))
NAMES = LabelTable.of({1: "liver", 2: "cyst"})


def box(*bounds):
    """A mask of one structure."""
    values = np.zeros(GRID.shape, np.uint8)
    values[tuple(slice(*bound) for bound in bounds)] = 1
    return values


LIVER, CYST = box((1, 6), (1, 6), (1, 5)), box((2, 4), (2, 4), (2, 4))


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if values.dtype == np.uint8:
        return write_labels(LabelMap(values, GRID, LabelTable.of({1: "label 1"})), path)
    return write_scan(Scan(values[None], GRID), path)


def image(seed=0):
    return np.random.default_rng(seed).normal(0, 1, GRID.shape).astype(np.float32)


@pytest.mark.parametrize("form", ["labels/{}/{}.nii.gz", "labels/{}_{}.nii.gz"])
def test_masks_become_one_label_map_and_overlap_is_told(tmp_path, form):
    for case in ("a", "b"):
        save(tmp_path / f"images/{case}.nii.gz", image())
        save(tmp_path / form.format(case, "liver"), LIVER)
        save(tmp_path / form.format(case, "cyst"), CYST)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("cyst", "liver")
    _, truth = dataset.read(dataset.cases[0])
    (note,) = truth.provenance.notes
    assert re.search(r"'liver' and 'cyst' .* share 8 voxel\(s\).* 'cyst'", note)
    found = check_dataset(dataset, fold=None).of("warning")
    assert [f.case for f in found if f.code == "MASKS_OVERLAP"] == ["a", "b"]
    assert np.array_equal(truth.values, np.where(CYST, 1, LIVER * 2))
    (tmp_path / "labels.json").write_text('{"4": "Cyst", "7": "LIVER"}')
    _, truth = open_dataset(tmp_path).read(dataset.cases[0])
    assert np.array_equal(truth.values, np.where(CYST, 4, LIVER * 7))


def test_a_mask_of_several_values_is_refused(tmp_path):
    save(tmp_path / "images/a.nii.gz", image())
    save(tmp_path / "labels/a/liver.nii.gz", LIVER)
    both = LabelMap(LIVER + CYST, GRID, LabelTable.of({1: "x", 2: "y"}))
    write_labels(both, tmp_path / "labels/a/cyst.nii.gz")
    dataset = open_dataset(tmp_path)
    with pytest.raises(LabelError, match=r"cyst\.nii\.gz' holds the values 1, 2"):
        dataset.read(dataset.cases[0])


def test_channels_by_name_are_stacked_in_order(tmp_path):
    for patient in ("p1", "p2"):
        for seed, channel in enumerate(("t2", "t1")):
            save(tmp_path / patient / f"{patient}_{channel}.nii.gz", image(seed))
        save(tmp_path / patient / f"{patient}_seg.nii.gz", LIVER)
    dataset = open_dataset(tmp_path)
    scan, _ = dataset.read(dataset.cases[1])
    assert scan.channel_names == ("t1", "t2")
    assert np.array_equal(scan.voxels, np.stack([image(1), image(0)]))
    assert [case.patient for case in dataset.cases] == ["p1", "p2"]


def test_folds_of_a_list(tmp_path):
    rows = ["image,label,patient,fold"]
    for number, fold in enumerate(("0", "0", "1", "")):
        save(tmp_path / f"i{number}.nii.gz", image())
        save(tmp_path / f"l{number}.nii.gz", LIVER)
        rows.append(f"i{number}.nii.gz,l{number}.nii.gz,p,{fold}")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    dataset = open_dataset(tmp_path / "cases.csv")
    assert dataset.name == "cases.csv"
    held_out = [{case.name for case in dataset.fold(number)[1]} for number in (0, 1)]
    assert held_out == [{"l0", "l1"}, {"l2"}]
    assert {case.name for case in dataset.fold(1)[0]} == {"l0", "l1", "l3"}


def two_series(folder, label, folders=("", "")):
    """Two series and the labels of the second: the scan, and the values that were drawn on it."""
    series = [Series(random_stored(seed=number)) for number in range(2)]
    for number, place in enumerate(folders):
        for k, path in enumerate(series[number].write(folder / "tmp")):
            (folder / place).mkdir(parents=True, exist_ok=True)
            path.rename(folder / place / f"s{number}_{k}.dcm")
    scan = read_scan(folder, series=series[1].uid)
    values = np.zeros(scan.grid.shape, np.uint8)
    values[1:4, 1:3, 0], values[1:4, 3:5, 1] = 1, 2
    label.parent.mkdir(parents=True, exist_ok=True)
    write_labels(LabelMap(values, scan.grid, NAMES, scan.provenance), label)
    return scan, values


WHERE = {
    "beside the slices": (("", ""), "{p}/seg.dcm"),
    "in a folder of its own": (("T1", "T2"), "{p}/SEG/1.dcm"),
    "of the study": (("day/T1", "day/T2"), "{p}/day/seg.dcm"),
    "contours": (("T1", "T2"), "{p}/RT/drawn.rtstruct.dcm"),
    "contours beside the slices": (("", ""), "{p}/drawn.rtstruct.dcm"),
}


@pytest.mark.parametrize("where", WHERE)
def test_labels_find_the_series_they_were_drawn_on(tmp_path, where):
    folders, label = WHERE[where]
    drawn = {
        p: two_series(tmp_path / p, tmp_path / label.format(p=p), folders) for p in ("p1", "p2")
    }
    dataset = open_dataset(tmp_path)
    assert [(case.name, case.patient) for case in dataset.cases] == [("p1", "p1"), ("p2", "p2")]
    assert dataset.labels.names == ("liver", "cyst")
    for case in dataset.cases:
        scan, truth = dataset.read(case)
        right, values = drawn[case.name]
        assert np.array_equal(scan.voxels, right.voxels)
        assert np.array_equal(truth.values, values)


def test_labels_in_a_folder_of_labels_choose_the_series_too(tmp_path):
    right, values = two_series(tmp_path / "images" / "p", tmp_path / "labels" / "p.dcm")
    dataset = open_dataset(tmp_path)
    scan, truth = dataset.read(dataset.cases[0])
    assert np.array_equal(scan.voxels, right.voxels)
    assert np.array_equal(truth.values, values)
    (tmp_path / "labels" / "p.dcm").unlink()
    write_labels(LabelMap(values, right.grid, NAMES), tmp_path / "labels" / "p.nii.gz")
    dataset = open_dataset(tmp_path)
    with pytest.raises(SelectionError, match="nothing in the label map of the case 'p' says"):
        dataset.read(dataset.cases[0])


def test_two_label_objects_of_one_series_are_refused(tmp_path):
    scan, values = two_series(tmp_path / "p", tmp_path / "p" / "one.dcm")
    write_labels(LabelMap(values, scan.grid, NAMES, scan.provenance), tmp_path / "p" / "two.dcm")
    with pytest.raises(InputError, match=r"one\.dcm.*two\.dcm.* both drawn on the series") as error:
        open_dataset(tmp_path)
    assert error.value.code == "TWO_FILES"


def test_label_objects_of_images_that_are_not_there_are_refused(tmp_path):
    two_series(tmp_path / "q", tmp_path / "q" / "seg.dcm")
    two_series(tmp_path / "p", tmp_path / "q" / "other.dcm")
    (tmp_path / "q" / "other.dcm").rename(tmp_path / "p" / "other.dcm")
    (tmp_path / "q" / "seg.dcm").rename(tmp_path / "p" / "seg.dcm")
    with pytest.raises(InputError, match=r"seg\.dcm' does not say on which of 2 series"):
        open_dataset(tmp_path)


def test_names_of_contours_go_by_any_capitals(tmp_path):
    _, values = two_series(tmp_path / "p", tmp_path / "p" / "drawn.rtstruct.dcm")
    dataset = open_dataset(tmp_path, labels={1: "CYST", 2: "Liver"})
    _, truth = dataset.read(dataset.cases[0])
    assert np.array_equal(truth.values, np.array([0, 2, 1])[values])
