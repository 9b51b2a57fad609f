"""Label maps that carry the names of their labels: a folder of them needs no labels.json."""

import numpy as np
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import LabelError
from medseg.reading import read_scan
from medseg.training import open_dataset
from medseg.training import truth as truth_module
from medseg.volume import Code, Grid, Label, LabelMap, LabelTable, Scan
from medseg.writing import write_labels, write_scan

LIVER = Label(value=2, name="liver", color=(200, 30, 20), code=Code("10200004", "SCT", "Liver"))
SPLEEN = Label(value=5, name="spleen", color=(20, 200, 30))
TABLE = LabelTable((LIVER, SPLEEN))
GRID = Grid((6, 5, 4), np.diag([1.0, 1, 2, 1]))


def save_case(folder, name, names, *, suffix=".nii.gz", images=".nii.gz"):
    """A case whose label map holds the values of `names`, stored with these names."""
    table = names if isinstance(names, LabelTable) else LabelTable.of(names)
    values = np.zeros(GRID.shape, np.uint8)
    for row, value in enumerate(table.values):
        values[row + 1, 1:3, 1:3] = value
    for part in ("images", "labels"):
        (folder / part).mkdir(exist_ok=True)
    write_scan(
        Scan(np.ones((1, *GRID.shape), np.float32), GRID), folder / "images" / (name + images)
    )
    write_labels(LabelMap(values, GRID, table), folder / "labels" / (name + suffix))


@pytest.mark.parametrize(("suffix", "images"), [(".nii.gz", ".nii.gz"), (".seg.nrrd", ".nrrd")])
def test_names_inside_label_maps_are_kept(tmp_path, suffix, images):
    save_case(tmp_path, "a", LabelTable((LIVER,)), suffix=suffix, images=images)
    save_case(tmp_path, "b", TABLE, suffix=suffix, images=images)
    dataset = open_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert dataset.labels == TABLE
    _, truth = dataset.read(dataset.cases[1])
    assert set(np.unique(truth.values)) == {0, 2, 5}


def test_names_inside_dicom_segmentations_are_kept(tmp_path):
    """Beside the folder of slices; medseg's structured report of the same case is no label map."""
    (tmp_path / "labels").mkdir()
    Series(random_stored()).write(tmp_path / "images" / "case")
    scan = read_scan(tmp_path / "images" / "case")
    values = np.zeros(scan.grid.shape, np.uint8)
    values[1:3, 1:3, 0], values[3:4, 1:3, 0] = 2, 5
    labels = LabelMap(values, scan.grid, TABLE, scan.provenance)
    write_labels(labels, tmp_path / "labels" / "case.dcm")
    write_labels(labels, tmp_path / "labels" / "case.sr.dcm")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.values == (2, 5)
    assert dataset.labels.names == ("liver", "spleen")
    assert dataset.labels.labels[0].code == LIVER.code
    _, truth = dataset.read(dataset.cases[0])
    assert np.array_equal(truth.values, values)


def test_names_of_contours_are_kept(tmp_path):
    (tmp_path / "labels").mkdir()
    Series(random_stored()).write(tmp_path / "images" / "case")
    scan = read_scan(tmp_path / "images" / "case")
    values = np.zeros(scan.grid.shape, np.uint8)
    values[1:4, 1:3, 0], values[1:4, 3:5, 1] = 1, 2
    table = LabelTable.of({1: "liver", 2: "spleen"})
    labels = LabelMap(values, scan.grid, table, scan.provenance)
    write_labels(labels, tmp_path / "labels" / "case.rtstruct.dcm")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("liver", "spleen")
    assert np.array_equal(dataset.read(dataset.cases[0])[1].values, values)


def test_a_cropped_slicer_segmentation_lies_in_its_scan(tmp_path):
    save_case(tmp_path, "a", TABLE, suffix=".seg.nrrd", images=".nrrd")
    dataset = open_dataset(tmp_path)
    _, whole = dataset.read(dataset.cases[0])
    part = (slice(1, 4), slice(1, 4), slice(1, 3))
    affine = GRID.affine.copy()
    affine[:3, 3] = GRID.affine[:3, :3] @ (1, 1, 1)
    cropped = LabelMap(whole.values[part], Grid((3, 3, 2), affine), TABLE)
    write_labels(cropped, tmp_path / "labels" / "a.seg.nrrd")
    _, truth = dataset.read(dataset.cases[0])
    assert truth.grid.same_as(GRID)
    assert np.array_equal(truth.values, whole.values)


def volumes_of(dataset, number):
    """Voxels of each structure of a case, by name."""
    _, truth = dataset.read(dataset.cases[number])
    return {label.name: int((truth.values == label.value).sum()) for label in truth.table}


def save_values(folder, name, values, names, **files):
    """A case with these values; its file calls them so."""
    save_case(folder, name, {1: "any"}, **files)
    labels = LabelMap(values, GRID, LabelTable.of(names))
    write_labels(labels, folder / "labels" / (name + files.get("suffix", ".nii.gz")))


BOX_AND_CORE = np.zeros(GRID.shape, np.uint8)
BOX_AND_CORE[1:5, 1:4, 1:3] = 1
BOX_AND_CORE[2:4, 2, 1] = 2
SWAPPED = np.array([0, 2, 1], np.uint8)[BOX_AND_CORE]


@pytest.mark.parametrize("table", ["", '{"1": "box", "2": "core"}', '{"core": 4, "box": 3}'])
@pytest.mark.parametrize(("suffix", "images"), [(".nii.gz", ".nii.gz"), (".seg.nrrd", ".nrrd")])
def test_a_structure_is_what_its_file_calls_it(tmp_path, suffix, images, table):
    files = {"suffix": suffix, "images": images}
    save_values(tmp_path, "a", BOX_AND_CORE, {1: "box", 2: "core"}, **files)
    save_values(tmp_path, "b", SWAPPED, {1: "Core", 2: "box"}, **files)
    if table:
        (tmp_path / "labels.json").write_text(table)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("box", "core")
    assert volumes_of(dataset, 0) == volumes_of(dataset, 1) == {"box": 22, "core": 2}


def test_two_names_of_one_value_may_be_two_words(tmp_path):
    save_case(tmp_path, "a", {1: "liver"})
    save_case(tmp_path, "b", {1: "spleen"})
    words = r"value 1 is 'liver' in '.*a\.nii\.gz' and 'spleen' in '.*b\."
    with pytest.raises(LabelError, match=words) as error:
        open_dataset(tmp_path)
    assert error.value.code == "NAMES_DIFFER"
    save_case(tmp_path, "c", {1: "liver", 2: "spleen"})
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("liver", "spleen")
    assert volumes_of(dataset, 1) == {"liver": 0, "spleen": 4}


def test_a_value_without_a_name_is_refused_where_it_could_be_either(tmp_path):
    save_values(tmp_path, "a", BOX_AND_CORE, {1: "box", 2: "core"})
    save_values(tmp_path, "b", SWAPPED, {1: "core", 2: "box"})
    save_values(tmp_path, "c", BOX_AND_CORE, {1: "label 1", 2: "label 2"})
    with pytest.raises(LabelError, match=r"c\.nii\.gz' does not say what its label value 1 is"):
        open_dataset(tmp_path)


def test_a_name_that_the_dataset_does_not_have_is_refused_with_both_lists(tmp_path):
    save_values(tmp_path, "a", BOX_AND_CORE, {1: "box", 2: "core"})
    save_values(tmp_path, "b", BOX_AND_CORE, {1: "box", 2: "kernel"})
    (tmp_path / "labels.json").write_text('{"1": "box", "2": "core"}')
    dataset = open_dataset(tmp_path)
    assert volumes_of(dataset, 0) == {"box": 22, "core": 2}
    words = r"b\.nii\.gz' calls its labels 1 box, 2 kernel and the label table has 1 box, 2 core"
    with pytest.raises(LabelError, match=words) as error:
        dataset.read(dataset.cases[1])
    assert error.value.code == "NAMES_DIFFER"


def test_a_person_may_rename_values_but_not_move_names(tmp_path):
    save_values(tmp_path, "a", BOX_AND_CORE, {1: "box", 2: "kernel"})
    renamed = open_dataset(tmp_path, labels={1: "box", 2: "core"})
    assert volumes_of(renamed, 0) == {"box": 22, "core": 2}
    moved = open_dataset(tmp_path, labels={1: "core", 2: "box"})
    with pytest.raises(LabelError, match="1 core, 2 box"):
        moved.read(moved.cases[0])


def test_half_named_files_are_refused_where_two_labels_would_be_one(tmp_path):
    save_values(tmp_path, "a", BOX_AND_CORE, {1: "core", 2: "label 2"})
    (tmp_path / "labels.json").write_text('{"1": "box", "2": "core"}')
    dataset = open_dataset(tmp_path)
    with pytest.raises(LabelError, match="names some of its labels only"):
        dataset.read(dataset.cases[0])


def test_a_file_without_names_contradicts_none(tmp_path):
    save_case(tmp_path, "a", {1: "label 1", 2: "label 2"})
    save_case(tmp_path, "b", {1: "liver"})
    save_case(tmp_path, "c", {1: "LIVER"})
    assert open_dataset(tmp_path).labels.names == ("liver", "label 2")


def test_a_name_whose_structure_no_file_holds_is_no_label(tmp_path):
    save_case(tmp_path, "a", {1: "liver"})
    values = np.zeros(GRID.shape, np.uint8)
    values[0] = 1
    table = LabelTable.of({1: "liver", 2: "kidney"})
    write_labels(LabelMap(values, GRID, table), tmp_path / "labels" / "a.nii.gz")
    save_case(tmp_path, "b", {1: "liver", 3: "spleen"})
    assert open_dataset(tmp_path).labels.names == ("liver", "spleen")


def test_each_label_map_is_read_once(tmp_path, monkeypatch):
    read = []

    def counting(path, **options):
        read.append(path.name)
        return read_labels(path, **options)

    read_labels = truth_module.read_labels
    monkeypatch.setattr(truth_module, "read_labels", counting)
    save_case(tmp_path, "a", {1: "liver"})
    save_case(tmp_path, "b", {1: "liver"})
    open_dataset(tmp_path)
    assert read == ["a.nii.gz", "b.nii.gz"]
