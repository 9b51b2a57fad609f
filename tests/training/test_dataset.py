import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import GeometryError, InputError, LabelError
from medseg.metrics import overlap
from medseg.planning import take_fingerprint
from medseg.reading import read_labels
from medseg.training import TrainingOptions, open_dataset, train
from toy_dataset import TOY_PLAN, write_toy


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


IMAGE, LABELS = np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4), np.uint8)


def test_plain_folder(tmp_path):
    dataset = open_dataset(write_toy(tmp_path / "toy"))
    assert [case.name for case in dataset.cases] == [f"c{n}" for n in range(6)]
    assert dataset.labels.names == ("box", "core")
    assert len(dataset.folds) == 5
    train, held_out = dataset.fold(0)
    assert {case.name for case in train} & {case.name for case in held_out} == set()
    assert len(train) + len(held_out) == 6
    assert sorted(n for fold in dataset.folds for n in fold.validation) == [
        f"c{n}" for n in range(6)
    ]


def test_nnunet_raw_with_two_channels(tmp_path):
    for name in ("liver_001", "liver_002"):
        save(tmp_path / "imagesTr" / f"{name}_0000.nii.gz", IMAGE)
        save(tmp_path / "imagesTr" / f"{name}_0001.nii.gz", 2 * IMAGE)
        save(tmp_path / "labelsTr" / f"{name}.nii.gz", LABELS)
    about = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "liver": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    dataset = open_dataset(tmp_path)
    scan, truth = dataset.read(dataset.cases[0])
    assert scan.voxels[:, 0, 0, 0].tolist() == [1, 2]
    assert scan.modality == "CT"
    looked_at = take_fingerprint(dataset.read(case) for case in dataset.cases)
    assert looked_at.channels == ("CT", "PET")
    assert truth.table.names == ("liver",)


def test_nnunet_first_version_has_its_channels_in_modality(tmp_path):
    for channel in (0, 1):
        save(tmp_path / "imagesTr" / f"a_{channel:04d}.nii.gz", IMAGE * (1 + channel))
    save(tmp_path / "labelsTr" / "a.nii.gz", LABELS)
    about = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "box"}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    dataset = open_dataset(tmp_path)
    scan, _ = dataset.read(dataset.cases[0])
    assert scan.voxels[:, 0, 0, 0].tolist() == [1, 2]
    assert (scan.modality, dataset.labels.names) == ("MR", ("box",))


@pytest.mark.parametrize("named", [["T1", "T2"], {"T1": 0, "T2": "1"}, {"0": "T1", "1": "T2"}])
def test_channels_have_their_names_in_whichever_order_they_are_written(tmp_path, named):
    for channel in (0, 1):
        save(tmp_path / "imagesTr" / f"a_{channel:04d}.nii.gz", IMAGE * (1 + channel))
    save(tmp_path / "labelsTr" / "a.nii.gz", LABELS)
    about = {"channel_names": named, "labels": {"background": 0, "box": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    assert open_dataset(tmp_path).channels == ("T1", "T2")


def test_a_byte_order_mark_is_passed_over(tmp_path):
    folder = write_toy(tmp_path / "toy", cases=2)
    folds = '[{"train": ["c0"], "val": ["c1"]}]'
    for name, text in (("labels.json", '{"1": "box", "2": "core"}'), ("splits.json", folds)):
        (folder / name).write_text(text, encoding="utf-8-sig")
    dataset = open_dataset(folder)
    assert dataset.labels.names == ("box", "core")
    assert [case.name for case in dataset.fold(0)[1]] == ["c1"]


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ("[]", "empty"),
        ('[{"train": "c0", "val": ["c1"]}]', "'c0' is no list of names"),
        ('[{"train": [0, "c1"], "val": ["c0"]}]', "no list of names"),
        ('[{"train": ["c0.nii.gz"], "val": ["c1"]}]', "without the ending, such as 'c0'"),
    ],
)
def test_folds_that_say_nothing_clear_are_refused(tmp_path, folds, words):
    folder = write_toy(tmp_path / "toy", cases=2)
    (folder / "splits.json").write_text(folds)
    with pytest.raises(InputError, match=words):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"box": 1, "core": 1}, "'box' and 'core' the value 1"),
        ({"box": 0, "background": 1, "core": 2}, "'background' the value 1"),
    ],
)
def test_labels_that_hide_one_another_are_refused(tmp_path, labels, words):
    folder = write_toy(tmp_path / "toy", cases=2)
    (folder / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(LabelError, match=words):
        open_dataset(folder)


def test_a_label_value_that_is_named_twice_is_refused(tmp_path):
    folder = write_toy(tmp_path / "toy", cases=2)
    (folder / "labels.json").write_text('{"1": "box", "1": "core"}')
    with pytest.raises(InputError, match="'1' is there twice"):
        open_dataset(folder)


def test_accents_are_one_letter_however_a_system_writes_them(tmp_path):
    folder = write_toy(tmp_path / "toy", cases=2)
    one, two = "M\u00fcller", "Mu\u0308ller"
    (folder / "images" / "c0.nii.gz").rename(folder / "images" / f"{two}.nii.gz")
    (folder / "labels" / "c0.nii.gz").rename(folder / "labels" / f"{one}.nii.gz")
    (folder / "splits.json").write_text(json.dumps([{"train": [two], "val": ["c1"]}]))
    dataset = open_dataset(folder)
    assert [case.name for case in dataset.fold(0)[0]] == [one]


def test_files_with_an_ending_in_capitals_are_read(tmp_path):
    folder = write_toy(tmp_path / "toy", cases=2)
    for part in ("images", "labels"):
        (folder / part / "c0.nii.gz").rename(folder / part / "c0.NII.GZ")
    dataset = open_dataset(folder)
    assert [int(dataset.read(case)[1].values.max()) for case in dataset.cases] == [2, 2]


def test_decathlon_folder_keeps_its_label_order(tmp_path):
    save(tmp_path / "imagesTr" / "h_0001.nii.gz", IMAGE)
    save(tmp_path / "labelsTr" / "h_0001.nii.gz", LABELS)
    labels = {"0": "background", "10": "ten", "2": "two", "1": "one"}
    about = {"name": "Task", "modality": {"0": "MRI"}, "labels": labels}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    dataset = open_dataset(tmp_path)
    assert dataset.cases[0].name == "h_0001"
    assert dataset.labels.values == (1, 2, 10)
    assert dataset.labels.names == ("one", "two", "ten")
    assert dataset.modality == "MR"


def test_labels_are_found_in_the_maps_when_nothing_names_them(tmp_path):
    save(tmp_path / "images" / "a.nii.gz", IMAGE)
    save(tmp_path / "labels" / "a.nii.gz", 5 * LABELS)
    assert open_dataset(tmp_path).labels.values == (5,)


@pytest.mark.parametrize(("origin_mm", "spacing_mm"), [(0.1, 1.2), (0.0, 1.201)])
def test_labels_a_tenth_of_a_voxel_off_are_trained_and_measured_as_the_scans(
    tmp_path, origin_mm, spacing_mm
):
    folder = write_toy(tmp_path / "toy")
    file = folder / "labels" / "c4.nii.gz"
    affine = np.diag([spacing_mm, 1.2, 1.2, 1.0])
    affine[0, 3] = origin_mm
    save(file, np.asarray(nib.load(file).dataobj), affine)
    dataset = open_dataset(folder)
    scan, truth = dataset.read(dataset.cases[4])
    assert truth.grid.same_as(scan.grid, tolerance_mm=0)
    prediction = replace(read_labels(file, table=dataset.labels), grid=scan.grid)
    scores = overlap(prediction, read_labels(file, table=dataset.labels))
    assert scores["core"].dice == 1


def test_labels_of_another_spacing_are_refused_by_their_spacing(tmp_path):
    folder = write_toy(tmp_path / "toy")
    file = folder / "labels" / "c4.nii.gz"
    save(file, np.asarray(nib.load(file).dataobj))
    dataset = open_dataset(folder)
    with pytest.raises(
        GeometryError, match=r"c4\.nii\.gz.*spacing 1 x 1 x 1 mm against 1\.2 x 1\.2 x 1\.2"
    ):
        dataset.read(dataset.cases[4])


def test_label_values_are_whole_to_what_arithmetic_leaves(tmp_path):
    off = np.float32([0.9999999, 1.0000001, 2.0000002, -1e-7])[:, None, None]
    save(tmp_path / "images" / "a.nii.gz", np.zeros((4, 1, 1), np.float32))
    save(tmp_path / "labels" / "a.nii.gz", off)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.values == (1, 2)
    _, truth = dataset.read(dataset.cases[0])
    assert truth.values.ravel().tolist() == [1, 1, 2, 0]


@pytest.mark.parametrize("named", [True, False])
def test_a_training_without_any_label_is_refused_before_its_first_step(tmp_path, named):
    folder = write_toy(tmp_path / "toy")
    for file in (folder / "labels").iterdir():
        save(file, np.zeros(nib.load(file).shape, np.uint8), np.diag([1.2, 1.2, 1.2, 1.0]))
    if not named:
        (folder / "labels.json").unlink()
    options = TrainingOptions(steps=1, device="cpu")
    with pytest.raises(InputError, match="holds a label"):
        train(folder, tmp_path / "run", options=options, plan=TOY_PLAN)
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_an_image_without_label_is_named(tmp_path):
    folder = write_toy(tmp_path / "toy")
    (folder / "labels" / "c3.nii.gz").unlink()
    with pytest.raises(InputError, match="'c3'"):
        open_dataset(folder)


def test_no_dataset_says_what_one_needs(tmp_path):
    with pytest.raises(InputError, match="images/ and labels/"):
        open_dataset(tmp_path)


def test_a_label_on_another_grid_is_refused(tmp_path):
    save(tmp_path / "images" / "a.nii.gz", IMAGE)
    save(tmp_path / "labels" / "a.nii.gz", LABELS, np.diag([1, 1, 2, 1.0]))
    dataset = open_dataset(tmp_path, labels={1: "x"})
    with pytest.raises(GeometryError, match=r"a\.nii\.gz"):
        dataset.read(dataset.cases[0])


def test_an_unknown_label_value_is_refused(tmp_path):
    save(tmp_path / "images" / "a.nii.gz", IMAGE)
    save(tmp_path / "labels" / "a.nii.gz", 4 * LABELS)
    dataset = open_dataset(tmp_path, labels={1: "x"})
    with pytest.raises(LabelError, match=r"\[4\]"):
        dataset.read(dataset.cases[0])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[{", "holds no folds"),
        ('[{"train": ["c0"], "val": ["zz"]}]', "'zz'"),
        ('[{"train": ["c0", "c1"], "val": ["c1"]}]', "trains on 'c1'"),
    ],
)
def test_bad_folds_are_refused(tmp_path, content, word):
    folder = write_toy(tmp_path / "toy")
    (folder / "splits.json").write_text(content)
    with pytest.raises(InputError, match=word):
        open_dataset(folder)


def test_folds_of_the_real_dataset(shared_data):
    dataset = open_dataset(shared_data / "hippocampus", labels={1: "anterior", 2: "posterior"})
    train, held_out = dataset.fold(0)
    assert (len(train), len(held_out)) == (166, 42)


def test_pictures_beside_volumes_are_previews(tmp_path):
    folder = write_toy(tmp_path / "toy", cases=2)
    for part in ("images", "labels"):
        (folder / part / "c0.png").write_bytes(b"no picture at all")
    assert [case.label.name for case in open_dataset(folder).cases] == ["c0.nii.gz", "c1.nii.gz"]


def test_two_files_of_one_name_are_refused(tmp_path):
    folder = write_toy(tmp_path / "toy", cases=2)
    (folder / "labels" / "c1.nrrd").write_bytes(b"another")
    with pytest.raises(InputError, match=r"c1.*would be one case"):
        open_dataset(folder)
